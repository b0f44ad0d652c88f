#include "oci-mount/overlay/clean_stop.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/files.h"
#include "oci-mount/overlay/upper_calls.h"
#include "oci-mount/store/digest.h"

namespace layerboot::overlay {

namespace {

constexpr const char* kName = "clean";
constexpr const char* kNewName = "clean.new";
/// Another number where a count means something else than before: when other things are charged.
constexpr std::string_view kMagic = "layerboot clean stop 2";
/// Of one that says only what no count finds.
constexpr std::string_view kUncountedMagic = "layerboot uncounted stop 1";

/// Records are text, each ended by a NUL, which no path holds.
void put(std::string& text, const auto&... parts) {
  text += str_cat(parts...);
  text.push_back('\0');
}

std::string check_of(std::string_view text) {
  const auto digest = store::digest_of(store::HashAlgorithm::kSha256, as_bytes(text));
  return digest ? digest->hex() : std::string();
}

/// Changed by whatever is made, removed or renamed in a directory, and by any change of its attributes, and
/// not to be set to a former time.
Result<std::string> stamp(int dir_fd) {
  LB_ASSIGN(const struct stat st, stat_at({dir_fd, ""}));
  return str_cat(st.st_ino, ' ', st.st_ctim.tv_sec, '.', st.st_ctim.tv_nsec);
}

Result<std::string> stamps(UpperDirectories upper) {
  LB_ASSIGN(const std::string root, stamp(upper.root_fd));
  LB_ASSIGN(const std::string work, stamp(upper.work_fd));
  return str_cat(root, ' ', work);
}

/// Records on their way to a file: a few at a time, and no more than kMaxCleanStopBytes of them (EFBIG).
class RecordWriter {
 public:
  static Result<RecordWriter> to(int fd) {
    LB_ASSIGN(auto hasher, store::Hasher::create(store::HashAlgorithm::kSha256));
    return RecordWriter(fd, std::move(hasher));
  }
  Result<void> put(const auto&... parts) {
    overlay::put(piece_, parts...);
    if (written_bytes_ + piece_.size() > kMaxCleanStopBytes) return fail(EFBIG);
    return piece_.size() < kPieceBytes ? Result<void>() : write_piece();
  }
  /// The last record is the check of all before.
  Result<void> finish() {
    LB_TRY(write_piece());
    overlay::put(piece_, 'c', hasher_.finish().hex());
    return write_all(fd_, as_bytes(piece_), written_bytes_);
  }

 private:
  static constexpr std::size_t kPieceBytes = 64U << 10;

  RecordWriter(int fd, store::Hasher hasher) : fd_(fd), hasher_(std::move(hasher)) {}
  Result<void> write_piece() {
    hasher_.update(as_bytes(piece_));
    LB_TRY(write_all(fd_, as_bytes(piece_), written_bytes_));
    written_bytes_ += piece_.size();
    piece_.clear();
    return {};
  }

  int fd_;
  store::Hasher hasher_;
  std::string piece_;
  std::size_t written_bytes_ = 0;
};

Result<void> write_records(int fd, std::string_view stamped, const CleanStop& stop) {
  LB_ASSIGN(auto records, RecordWriter::to(fd));
  LB_TRY(records.put(stop.is_counted ? kMagic : kUncountedMagic));
  LB_TRY(records.put(stamped));
  if (stop.is_counted) {
    LB_TRY(records.put(stop.survey.usage.bytes));
    LB_TRY(records.put(stop.survey.usage.inodes));
    LB_TRY(records.put(stop.lower_key));
  }
  if (stop.forgotten_kept_bytes > 0) LB_TRY(records.put('o', stop.forgotten_kept_bytes));
  for (const auto& way : stop.survey.moved_directories) LB_TRY(records.put('m', way.parent, ' ', way.name));
  for (const auto& lost : stop.lost_names) LB_TRY(records.put('l', lost.count, lost.path));
  for (const auto& [ino, late] : stop.late_files) {
    LB_TRY(records.put(late.later == Later::kGrows ? 'g' : 's', ino, ' ', late.charged_bytes));
    if (late.kept_bytes > 0) LB_TRY(records.put('k', ino, ' ', late.kept_bytes));
    if (late.kept_from != kNeverCut) LB_TRY(records.put('f', ino, ' ', late.kept_from));
  }
  return records.finish();
}

/// Takes records off the front of a text.
class Records {
 public:
  explicit Records(std::string_view text) : rest_(text) {}
  std::optional<std::string_view> next() {
    const auto end = rest_.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    const auto record = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return record;
  }
  std::optional<std::uint64_t> next_number() {
    const auto record = next();
    return record ? parse_decimal(*record, UINT64_MAX) : std::nullopt;
  }

 private:
  std::string_view rest_;
};

std::optional<CleanStop::LostNames> parse_lost(std::string_view record) {
  const auto path = std::min(record.find('/'), record.size());
  const auto count = parse_decimal(record.substr(0, path), UINT32_MAX);
  if (!count || *count == 0) return std::nullopt;
  return CleanStop::LostNames{.path = std::string(record.substr(path)),
                              .count = static_cast<std::uint32_t>(*count)};
}

std::optional<WayToMoved> parse_way(std::string_view record, std::size_t before) {
  const auto space = std::min(record.find(' '), record.size());
  const auto parent = parse_decimal(record.substr(0, space), before);
  if (!parent || space == record.size()) return std::nullopt;
  return WayToMoved{.parent = static_cast<std::uint32_t>(*parent),
                    .name = std::string(record.substr(space + 1))};
}

struct InodeBytes {
  std::uint64_t host_ino;
  std::uint64_t bytes;
};
std::optional<InodeBytes> parse_inode_bytes(std::string_view record) {
  const auto space = std::min(record.find(' '), record.size());
  const auto ino = parse_decimal(record.substr(0, space), UINT64_MAX);
  const auto bytes = parse_decimal(record.substr(std::min(space + 1, record.size())), UINT64_MAX);
  if (!ino || !bytes) return std::nullopt;
  return InodeBytes{.host_ino = *ino, .bytes = *bytes};
}

bool parse_late(char kind, std::string_view record, CleanStop& stop) {
  const auto found = parse_inode_bytes(record);
  if (!found) return false;
  if (kind == 'g' || kind == 's') {
    const Later later = kind == 'g' ? Later::kGrows : Later::kShrinks;
    stop.late_files[found->host_ino] = {.charged_bytes = found->bytes, .later = later};
    return true;
  }
  const auto file = stop.late_files.find(found->host_ino);
  if (file == stop.late_files.end()) return false;
  (kind == 'k' ? file->second.kept_bytes : file->second.kept_from) = found->bytes;
  return true;
}

/// One record of those of which there is any number; false where it is none.
bool parse_item(std::string_view record, CleanStop& stop) {
  const auto rest = record.substr(std::min<std::size_t>(record.size(), 1));
  if (record.starts_with('m')) {
    auto way = parse_way(rest, stop.survey.moved_directories.size());
    if (!way) return false;
    stop.survey.moved_directories.push_back(*std::move(way));
    return true;
  }
  if (record.starts_with('l')) {
    auto lost = parse_lost(rest);
    if (!lost) return false;
    stop.lost_names.push_back(*std::move(lost));
    return true;
  }
  if (record.starts_with('o')) {
    const auto bytes = parse_decimal(rest, UINT64_MAX);
    stop.forgotten_kept_bytes = bytes.value_or(0);
    return bytes.has_value();
  }
  constexpr std::string_view kOfLateFiles = "gskf";
  const bool is_late = !record.empty() && kOfLateFiles.contains(record.front());
  return is_late && parse_late(record.front(), rest, stop);
}

bool parse_count(Records& records, CleanStop& stop) {
  const auto bytes = records.next_number();
  const auto inodes = records.next_number();
  const auto key = records.next();
  if (!bytes || !inodes || !key) return false;
  stop.survey.usage = {.bytes = *bytes, .inodes = *inodes};
  stop.lower_key = *key;
  return true;
}

std::optional<CleanStop> parse(std::string_view text, std::string_view stamped) {
  constexpr std::size_t kCheckBytes = 1 + 64 + 1;
  if (text.size() < kCheckBytes) return std::nullopt;
  const auto checked = text.substr(0, text.size() - kCheckBytes);
  std::string check;
  put(check, 'c', check_of(checked));
  if (text.substr(checked.size()) != check) return std::nullopt;

  Records records(checked);
  const auto magic = records.next();
  if ((magic != kMagic && magic != kUncountedMagic) || records.next() != stamped) return std::nullopt;
  CleanStop stop;
  stop.is_counted = magic == kMagic;
  if (stop.is_counted && !parse_count(records, stop)) return std::nullopt;
  while (const auto record = records.next()) {
    if (!parse_item(*record, stop)) return std::nullopt;
  }
  return stop;
}

Result<void> write_new(UpperDirectories upper, const CleanStop& stop) {
  const int top_fd = upper.top_fd;
  static_cast<void>(unlink_at({top_fd, kNewName}));
  LB_ASSIGN(const std::string stamped, stamps(upper));
  LB_ASSIGN(const UniqueFd file, create_regular_at({top_fd, kNewName}, 0600));
  LB_TRY(write_records(file.get(), stamped, stop));
  if (::fsync(file.get()) != 0) return fail(errno);
  LB_TRY(rename_at({top_fd, kNewName}, {top_fd, kName}, 0));
  if (::fsync(top_fd) != 0) return fail(errno);
  return {};
}

CleanStop uncounted(const CleanStop& stop) {
  CleanStop rest;
  rest.is_counted = false;
  rest.forgotten_kept_bytes = stop.forgotten_kept_bytes;
  for (const auto& [ino, late] : stop.late_files) {
    if (late.kept_bytes > 0) rest.late_files.emplace(ino, late);
  }
  return rest;
}

}  // namespace

Result<void> write_clean_stop(UpperDirectories upper, const CleanStop& stop) {
  if (!stop.is_counted && !stop.says_what_is_kept()) return {};
  auto written = write_new(upper, stop);
  if (written) return written;
  for (const char* name : {kNewName, kName}) static_cast<void>(unlink_at({upper.top_fd, name}));
  if (written.error().code != EFBIG) return written;
  return stop.is_counted ? write_clean_stop(upper, uncounted(stop)) : Result<void>();
}

std::optional<CleanStop> read_clean_stop(UpperDirectories upper) {
  const auto file = open_beneath(upper.top_fd, kName, O_RDONLY | O_NONBLOCK);
  if (!file) return std::nullopt;
  const auto text = read_all(file->get(), kMaxCleanStopBytes);
  const auto stamped = stamps(upper);
  return text && stamped ? parse(*text, *stamped) : std::nullopt;
}

Result<void> forget_clean_stop(int top_fd) {
  static_cast<void>(unlink_at({top_fd, kNewName}));
  if (auto removed = unlink_at({top_fd, kName}); !removed) {
    return removed.error().code == ENOENT ? Result<void>() : removed;
  }
  if (::fsync(top_fd) != 0) return fail(errno);
  return {};
}

}  // namespace layerboot::overlay
