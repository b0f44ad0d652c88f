#include "oci-mount/overlay/redirects.h"

#include <unistd.h>

#include "oci-mount/base/log.h"
#include "oci-mount/base/log_limit.h"

namespace layerboot::overlay {

namespace {

/// As a metacopy is made: nothing was ever written to it.
Result<bool> is_all_hole(int fd) {
  if (::lseek(fd, 0, SEEK_DATA) >= 0) return false;
  if (errno == ENXIO) return true;
  return fail(errno);
}

/// The file below is another one than when the metacopy was made, which is of that one from now on; or the
/// metacopy has lost its size.
Result<DataSource> take_size(const MergedName& merged, int fd, const struct stat& st, tree::NodeId row) {
  const std::uint64_t size_bytes = merged.lower.tree.node(row).size_bytes;
  // To nothing first: btrfs would write the rest of what was the last block, and it would be all hole no
  // more.
  for (const std::uint64_t bytes : {std::uint64_t{0}, size_bytes}) {
    if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) return fail(errno);
  }
  LB_TRY(set_times_at({fd, ""}, {st.st_atim, st.st_mtim}));
  return DataSource{.where = DataSource::Where::kBelow, .row = row};
}

/// What a file's metacopy mark is worth.
enum class MarkIs { kNone, kOld, kTrue, kLost, kOfOtherSize };
struct Judged {
  MarkIs mark = MarkIs::kNone;
  tree::NodeId row = tree::kNoNode;  // where the data is, of kTrue and kOfOtherSize
};

Result<Judged> judge_metacopy(const MergedName& merged, const std::optional<std::string>& redirect,
                              std::uint64_t size_bytes) {
  LB_ASSIGN(const tree::NodeId row, merged.paths.named(merged.directory, merged.name, redirect));
  if (row == tree::kNoNode || !S_ISREG(merged.lower.tree.node(row).mode)) {
    // Each time that the guest looks at it anew.
    static LogLimit told;
    told.warn(merged.name, ": its data should be in the image at ", redirect.value_or("the same place"),
              ", where no file is any more: it can be removed or replaced, but not read");
    return Judged{.mark = MarkIs::kLost};
  }
  const std::uint64_t row_bytes = merged.lower.tree.node(row).size_bytes;
  // btrfs makes names durable by its log without the sizes of new files that they lead to
  // (LOG_INODE_EXISTS in fs/btrfs/tree-log.c): such a metacopy is empty after a power cut.
  if (size_bytes == 0 && row_bytes > 0) return Judged{.mark = MarkIs::kOfOtherSize, .row = row};
  // Below another of the file's names there may be more than nothing, where layers differ.
  const bool is_empty = size_bytes == 0 && !merged.lower.may_change();
  const bool is_true = !is_empty && size_bytes == row_bytes;
  return Judged{.mark = is_true ? MarkIs::kTrue : MarkIs::kOld, .row = row};
}

/// Where an added layer has covered one of a metacopy's names, another file is below each, and it takes the
/// size of the one that is looked at, also when that layer has gone again. None of these may cost it its
/// mark.
Result<Judged> judge(const MergedName& merged, const Marks& marks, Place place, const struct stat& st) {
  LB_ASSIGN(const auto mark, get_xattr_at(place, marks.metacopy));
  if (!mark) return Judged{};
  LB_ASSIGN(const auto redirect, get_xattr_at(place, marks.redirect));
  LB_ASSIGN(const Judged judged, judge_metacopy(merged, redirect, static_cast<std::uint64_t>(st.st_size)));
  if (judged.mark != MarkIs::kOld || st.st_size == 0) return judged;
  LB_ASSIGN(const UniqueFd fd, open_to_read_at(place));
  LB_ASSIGN(const bool untouched, is_all_hole(fd.get()));
  return Judged{.mark = untouched ? MarkIs::kOfOtherSize : MarkIs::kOld, .row = judged.row};
}

DataSource seen_source(const Judged& judged) {
  if (judged.mark == MarkIs::kLost) return DataSource{.where = DataSource::Where::kLost};
  const bool is_below = judged.mark == MarkIs::kTrue || judged.mark == MarkIs::kOfOtherSize;
  if (!is_below) return DataSource{};
  return DataSource{.where = DataSource::Where::kBelow, .row = judged.row};
}

}  // namespace

Result<MergedLower> merged_lower(const MergedName& merged, const Marks& marks, Place place) {
  LB_ASSIGN(const auto opaque, get_xattr_at(place, marks.opaque));
  if (opaque == "y") return MergedLower{};
  LB_ASSIGN(const auto redirect, get_xattr_at(place, marks.redirect));
  LB_ASSIGN(const tree::NodeId lower, merged.paths.named(merged.directory, merged.name, redirect));
  const bool is_directory = lower != tree::kNoNode && S_ISDIR(merged.lower.tree.node(lower).mode);
  if (is_directory) return MergedLower{.row = lower};
  return MergedLower{.leads_nowhere = redirect.has_value()};
}

Result<DataSource> data_source(const MergedName& merged, const Marks& marks, Place place,
                               const struct stat& st) {
  LB_ASSIGN(const Judged judged, judge(merged, marks, place, st));
  switch (judged.mark) {
    case MarkIs::kNone:
      return DataSource{};
    case MarkIs::kOld:
      LB_TRY(remove_xattr_at(place, marks.metacopy));
      return DataSource{};
    case MarkIs::kTrue:
      return DataSource{.where = DataSource::Where::kBelow, .row = judged.row};
    case MarkIs::kOfOtherSize: {
      LB_ASSIGN(const UniqueFd fd, open_regular_at(place));
      return take_size(merged, fd.get(), st, judged.row);
    }
    case MarkIs::kLost:
      break;
  }
  return DataSource{.where = DataSource::Where::kLost};
}

Result<DataSource> data_source_seen(const MergedName& merged, const Marks& marks, Place place,
                                    const struct stat& st) {
  LB_ASSIGN(const Judged judged, judge(merged, marks, place, st));
  return seen_source(judged);
}

Result<DataSource> data_source_of_metacopy(const MergedName& merged,
                                           const std::optional<std::string>& redirect,
                                           std::uint64_t size_bytes) {
  LB_ASSIGN(const Judged judged, judge_metacopy(merged, redirect, size_bytes));
  return seen_source(judged);
}

}  // namespace layerboot::overlay
