#include "oci-mount/layer/entry_table.h"

#include <algorithm>
#include <array>
#include <utility>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

bool lies_within(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return offset <= size && length <= size - offset;
}

bool is_known_type(std::uint8_t type) {
  return type >= static_cast<std::uint8_t>(EntryType::kFile) &&
         type <= static_cast<std::uint8_t>(EntryType::kLinkBelow);
}

}  // namespace

bool path_before(std::string_view a, std::string_view b) {
  const auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (in_b == b.end()) return false;
  if (in_a == a.end()) return true;
  const auto rank = [](char c) { return c == '/' ? 0 : static_cast<int>(static_cast<unsigned char>(c)) + 1; };
  return rank(*in_a) < rank(*in_b);
}

int sort_of(EntryType type) {
  if (type == EntryType::kWhiteout) return 0;
  return type == EntryType::kOpaque ? 1 : 2;
}

Result<std::size_t> EntryTable::Shape::size_bytes() const {
  const std::array parts{std::pair(entry_count, sizeof(EntryRecord)), std::pair(extent_count, sizeof(Extent)),
                         std::pair(xattr_count, sizeof(EntryXattrRecord)),
                         std::pair(strings_size_bytes, std::size_t{1})};
  std::uint64_t total = 0;
  for (const auto& [count, size] : parts) {
    if (count > (kMaxEntryTableBytes - total) / size) {
      return fail(E2BIG, "a layer's entries are over the limit of ", kMaxEntryTableBytes, " bytes");
    }
    total += count * size;
  }
  if (entry_count > kMaxEntries) {
    return fail(E2BIG, entry_count, " entries are over the limit of ", kMaxEntries, " for one layer");
  }
  return static_cast<std::size_t>(total);
}

Result<EntryTable> EntryTable::parse(std::vector<std::byte> bytes, const Shape& shape,
                                     std::uint64_t stream_size_bytes) {
  LB_ASSIGN(const std::size_t expected, shape.size_bytes());
  if (bytes.size() != expected) return fail(EBADMSG, "an entry table of the wrong size");
  EntryTable table;
  table.bytes_ = std::move(bytes);
  const std::span<const std::byte> all(table.bytes_);
  std::uint64_t offset = 0;
  table.entries_ = table_at<EntryRecord>(all, offset, shape.entry_count);
  offset += shape.entry_count * sizeof(EntryRecord);
  table.extents_ = table_at<Extent>(all, offset, shape.extent_count);
  offset += shape.extent_count * sizeof(Extent);
  table.xattrs_ = table_at<EntryXattrRecord>(all, offset, shape.xattr_count);
  offset += shape.xattr_count * sizeof(EntryXattrRecord);
  table.strings_ = as_text(all.subspan(offset));
  LB_TRY(table.check(stream_size_bytes));
  return table;
}

bool EntryTable::entry_fits(const EntryRecord& record, std::uint64_t stream_size_bytes) const {
  if (!is_known_type(record.type) || record.mode > kPermissionBits || record.mtime_nsec >= 1'000'000'000 ||
      record.reserved != 0 || record.reserved2 != 0 ||
      !lies_within(record.path_offset, record.path_length, strings_.size()) ||
      !lies_within(record.link_offset, record.link_length, strings_.size()) ||
      !lies_within(record.first_extent, record.extent_count, extents_.size()) ||
      !lies_within(record.first_xattr, record.xattr_count, xattrs_.size())) {
    return false;
  }
  const auto type = static_cast<EntryType>(record.type);
  const auto link = strings_.substr(record.link_offset, record.link_length);
  if (!check_path(strings_.substr(record.path_offset, record.path_length))) return false;
  const bool is_link = type == EntryType::kHardLink || type == EntryType::kLinkBelow;
  if (is_link && (link.empty() || !check_path(link))) return false;
  if (type == EntryType::kSymlink && !is_valid_symlink_target(link)) return false;
  if (type != EntryType::kFile && record.extent_count != 0) return false;
  std::uint64_t file_end = 0;
  for (const Extent& extent : extents_.subspan(record.first_extent, record.extent_count)) {
    if (extent.file_offset < file_end ||
        !lies_within(extent.file_offset, extent.length_bytes, record.size_bytes) ||
        !lies_within(extent.stream_offset, extent.length_bytes, stream_size_bytes)) {
      return false;
    }
    file_end = extent.file_offset + extent.length_bytes;
  }
  return true;
}

Result<void> EntryTable::check(std::uint64_t stream_size_bytes) const {
  const EntryRecord* before = nullptr;
  for (const EntryRecord& record : entries_) {
    if (!entry_fits(record, stream_size_bytes)) return fail(EBADMSG, "an entry table with a bad entry");
    if (before != nullptr) {
      const auto path = strings_.substr(record.path_offset, record.path_length);
      const auto path_of_before = strings_.substr(before->path_offset, before->path_length);
      const bool in_order = path == path_of_before ? sort_of(static_cast<EntryType>(before->type)) <
                                                         sort_of(static_cast<EntryType>(record.type))
                                                   : path_before(path_of_before, path);
      if (!in_order) return fail(EBADMSG, "an entry table out of order");
    }
    before = &record;
  }
  for (const EntryXattrRecord& xattr : xattrs_) {
    if (!lies_within(xattr.name_offset, xattr.name_length, strings_.size()) ||
        !lies_within(xattr.value_offset, xattr.value_length, strings_.size())) {
      return fail(EBADMSG, "an entry table with a bad xattr");
    }
  }
  return {};
}

EntryView EntryTable::entry(std::uint32_t i) const {
  const EntryRecord& record = entries_[i];
  EntryView view;
  view.path = strings_.substr(record.path_offset, record.path_length);
  view.type = static_cast<EntryType>(record.type);
  view.mode = record.mode;
  view.uid = record.uid;
  view.gid = record.gid;
  view.mtime_sec = record.mtime_sec;
  view.mtime_nsec = record.mtime_nsec;
  view.rdev_major = record.rdev_major;
  view.rdev_minor = record.rdev_minor;
  view.size_bytes = record.size_bytes;
  view.link = strings_.substr(record.link_offset, record.link_length);
  view.extents = extents_.subspan(record.first_extent, record.extent_count);
  view.xattrs.reserve(record.xattr_count);
  for (const EntryXattrRecord& xattr : xattrs_.subspan(record.first_xattr, record.xattr_count)) {
    view.xattrs.push_back({strings_.substr(xattr.name_offset, xattr.name_length),
                           strings_.substr(xattr.value_offset, xattr.value_length)});
  }
  return view;
}

}  // namespace layerboot::layer
