#include "oci-mount/layer/entry_table_builder.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "oci-mount/base/bytes.h"

namespace layerboot::layer {

std::uint32_t EntryTableBuilder::add_string(std::string_view text) {
  const auto offset = static_cast<std::uint32_t>(strings_.size());
  strings_ += text;
  return offset;
}

std::string_view EntryTableBuilder::path_of(const EntryRecord& record) const {
  return std::string_view(strings_).substr(record.path_offset, record.path_length);
}

Result<void> EntryTableBuilder::add(const TarEntry& entry) {
  const EntryTable::Shape shape{entries_.size() + 1, extents_.size() + entry.extents.size(),
                                xattrs_.size() + entry.xattrs.size(),
                                strings_.size() + entry.path.size() + entry.link.size()};
  if (auto size = shape.size_bytes(); !size) return std::unexpected(size.error());
  EntryRecord record;
  record.size_bytes = entry.size_bytes;
  record.mtime_sec = entry.mtime_sec;
  record.mtime_nsec = entry.mtime_nsec;
  record.uid = entry.uid;
  record.gid = entry.gid;
  record.rdev_major = entry.rdev_major;
  record.rdev_minor = entry.rdev_minor;
  record.path_offset = add_string(entry.path);
  record.path_length = static_cast<std::uint16_t>(entry.path.size());
  record.link_offset = add_string(entry.link);
  record.link_length = static_cast<std::uint16_t>(entry.link.size());
  record.first_extent = static_cast<std::uint32_t>(extents_.size());
  record.extent_count = static_cast<std::uint32_t>(entry.extents.size());
  record.first_xattr = static_cast<std::uint32_t>(xattrs_.size());
  record.xattr_count = static_cast<std::uint32_t>(entry.xattrs.size());
  record.mode = static_cast<std::uint16_t>(entry.mode);
  record.type = static_cast<std::uint8_t>(entry.type);
  extents_.insert(extents_.end(), entry.extents.begin(), entry.extents.end());
  for (const auto& [name, value] : entry.xattrs) {
    EntryXattrRecord xattr;
    xattr.name_offset = add_string(name);
    xattr.name_length = static_cast<std::uint32_t>(name.size());
    xattr.value_offset = add_string(value);
    xattr.value_length = static_cast<std::uint32_t>(value.size());
    xattrs_.push_back(xattr);
  }
  entries_.push_back(record);
  return {};
}

/// Sorted, and of one path and sort only the last.
std::vector<std::uint32_t> EntryTableBuilder::order() const {
  std::vector<std::uint32_t> order(entries_.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto sort_at = [&](std::uint32_t i) { return sort_of(static_cast<EntryType>(entries_[i].type)); };
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const auto path_a = path_of(entries_[a]);
    const auto path_b = path_of(entries_[b]);
    if (path_a != path_b) return path_before(path_a, path_b);
    if (sort_at(a) != sort_at(b)) return sort_at(a) < sort_at(b);
    return a > b;  // the last one first, so that unique() keeps it
  });
  const auto end = std::unique(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return sort_at(a) == sort_at(b) && path_of(entries_[a]) == path_of(entries_[b]);
  });
  order.erase(end, order.end());
  return order;
}

/// Takes out what something that is no directory later took the place of; and that itself, where later still
/// something was put below it.
void EntryTableBuilder::drop_covered(std::vector<std::uint32_t>& order) const {
  std::vector<std::uint32_t> kept;
  kept.reserve(order.size());
  struct Cover {
    std::uint32_t entry;
    std::size_t place;  // in `kept`
    bool overridden;
  };
  std::optional<Cover> cover;
  std::vector<std::size_t> overridden;
  const auto end_cover = [&] {
    if (cover && cover->overridden) overridden.push_back(cover->place);
    cover.reset();
  };
  for (const std::uint32_t i : order) {
    const auto path = path_of(entries_[i]);
    if (cover) {
      const auto above = path_of(entries_[cover->entry]);
      const bool below = path.size() > above.size() && path.starts_with(above) && path[above.size()] == '/';
      if (below && i < cover->entry) continue;
      if (below) cover->overridden = true;
      if (!below) end_cover();
    }
    const auto type = static_cast<EntryType>(entries_[i].type);
    if (!cover && type != EntryType::kDirectory && sort_of(type) == 2) cover = Cover{i, kept.size(), false};
    kept.push_back(i);
  }
  end_cover();
  for (auto place = overridden.rbegin(); place != overridden.rend(); ++place) {
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(*place));
  }
  order = std::move(kept);
}

Result<EntryTableBuilder::Table> EntryTableBuilder::finish() {
  std::vector<std::uint32_t> kept = order();
  drop_covered(kept);
  Table table;
  // Extents, xattrs and strings of dropped entries stay: they are few, and harm nothing.
  table.shape = {kept.size(), extents_.size(), xattrs_.size(), strings_.size()};
  LB_ASSIGN(const std::size_t size_bytes, table.shape.size_bytes());
  table.bytes.reserve(size_bytes);
  const auto append = [&](std::span<const std::byte> bytes) {
    table.bytes.insert(table.bytes.end(), bytes.begin(), bytes.end());
  };
  for (const std::uint32_t i : kept) append(object_bytes(entries_[i]));
  append(std::as_bytes(std::span(extents_)));
  append(std::as_bytes(std::span(xattrs_)));
  append(as_bytes(strings_));
  return table;
}

}  // namespace layerboot::layer
