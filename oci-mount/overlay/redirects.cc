#include "oci-mount/overlay/redirects.h"

#include <unistd.h>

#include "oci-mount/base/log.h"

namespace layerboot::overlay {

namespace {

/// As a metacopy is made: nothing was ever written to it.
Result<bool> is_all_hole(int fd) {
  if (::lseek(fd, 0, SEEK_DATA) >= 0) return false;
  if (errno == ENXIO) return true;
  return fail(errno);
}

/// The file below is another one than when the metacopy was made: it is of that one from now on.
Result<DataSource> follow_change(const MergedName& merged, const Marks& marks, int fd, tree::NodeId row) {
  const std::uint64_t size_bytes = merged.lower.tree.node(row).size_bytes;
  if (::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) return fail(errno);
  if (size_bytes > 0) return DataSource{.where = DataSource::Where::kBelow, .row = row};
  LB_TRY(remove_xattr_at({fd, ""}, marks.metacopy));
  return DataSource{};
}

}  // namespace

Result<tree::NodeId> merged_lower(const MergedName& merged, const Marks& marks, Place place) {
  LB_ASSIGN(const auto opaque, get_xattr_at(place, marks.opaque));
  if (opaque == "y") return tree::kNoNode;
  LB_ASSIGN(const auto redirect, get_xattr_at(place, marks.redirect));
  LB_ASSIGN(const tree::NodeId lower, merged.paths.named(merged.directory, merged.name, redirect));
  const bool is_directory = lower != tree::kNoNode && S_ISDIR(merged.lower.tree.node(lower).mode);
  return is_directory ? lower : tree::kNoNode;
}

Result<DataSource> data_source(const MergedName& merged, const Marks& marks, Place place,
                               const struct stat& st) {
  LB_ASSIGN(const auto mark, get_xattr_at(place, marks.metacopy));
  if (!mark) return DataSource{};
  LB_ASSIGN(const auto redirect, get_xattr_at(place, marks.redirect));
  LB_ASSIGN(const tree::NodeId row, merged.paths.named(merged.directory, merged.name, redirect));
  if (row == tree::kNoNode || !S_ISREG(merged.lower.tree.node(row).mode)) {
    log_warn(merged.name, ": its data should be in the image at ", redirect.value_or("the same place"),
             ", where no file is any more: it can be removed or replaced, but not read");
    return DataSource{.where = DataSource::Where::kLost};
  }
  const std::uint64_t size_bytes = merged.lower.tree.node(row).size_bytes;
  if (size_bytes > 0 && size_bytes == static_cast<std::uint64_t>(st.st_size)) {
    return DataSource{.where = DataSource::Where::kBelow, .row = row};
  }
  if (st.st_size > 0 && merged.lower.may_change(row)) {
    LB_ASSIGN(const UniqueFd fd, open_regular_at(place));
    LB_ASSIGN(const bool untouched, is_all_hole(fd.get()));
    if (untouched) return follow_change(merged, marks, fd.get(), row);
  }
  LB_TRY(remove_xattr_at(place, marks.metacopy));
  return DataSource{};
}

}  // namespace layerboot::overlay
