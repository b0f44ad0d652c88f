#include "oci-mount/layer/entry_table_builder.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

bool is_mark(const EntryRecord& record) { return sort_of(static_cast<EntryType>(record.type)) != 2; }

bool is_link(const EntryRecord& record) {
  const auto type = static_cast<EntryType>(record.type);
  return type == EntryType::kHardLink || type == EntryType::kLinkBelow;
}

/// The directory of a path, and its last part.
struct Split {
  StandingPaths::Text directory;
  StandingPaths::Text name;
};
Split split(std::string_view strings, std::uint32_t offset, std::uint32_t length) {
  const std::size_t slash = strings.substr(offset, length).rfind('/');
  if (slash == std::string_view::npos) return {{offset, 0}, {offset, length}};
  const auto before = static_cast<std::uint32_t>(slash);
  return {{offset, before}, {offset + before + 1, length - before - 1}};
}

}  // namespace

StandingPaths::Text EntryTableBuilder::add_string(std::string_view text) {
  const auto offset = static_cast<std::uint32_t>(strings_.size());
  strings_ += text;
  return {offset, static_cast<std::uint32_t>(text.size())};
}

std::string_view EntryTableBuilder::path_of(const EntryRecord& record) const {
  return std::string_view(strings_).substr(record.path_offset, record.path_length);
}

std::uint32_t EntryTableBuilder::add_record(const TarEntry& entry) {
  EntryRecord record;
  record.size_bytes = entry.size_bytes;
  record.mtime_sec = entry.mtime_sec;
  record.mtime_nsec = entry.mtime_nsec;
  record.uid = entry.uid;
  record.gid = entry.gid;
  record.rdev_major = entry.rdev_major;
  record.rdev_minor = entry.rdev_minor;
  record.path_offset = add_string(entry.path).offset;
  record.path_length = static_cast<std::uint16_t>(entry.path.size());
  record.link_offset = add_string(entry.link).offset;
  record.link_length = static_cast<std::uint16_t>(entry.link.size());
  record.first_extent = static_cast<std::uint32_t>(extents_.size());
  record.extent_count = static_cast<std::uint32_t>(entry.extents.size());
  record.first_xattr = static_cast<std::uint32_t>(xattrs_.size());
  record.xattr_count = static_cast<std::uint32_t>(entry.xattrs.size());
  record.mode = static_cast<std::uint16_t>(entry.mode);
  record.type = static_cast<std::uint8_t>(entry.type);
  extents_.insert(extents_.end(), entry.extents.begin(), entry.extents.end());
  for (const auto& [name, value] : entry.xattrs) {
    const auto name_text = add_string(name);
    const auto value_text = add_string(value);
    xattrs_.push_back({name_text.offset, value_text.offset, name_text.length, value_text.length});
  }
  entries_.push_back(record);
  return static_cast<std::uint32_t>(entries_.size() - 1);
}

Result<void> EntryTableBuilder::add(const TarEntry& entry) {
  // A symlink on its way may give it another path, and its link.
  const EntryTable::Shape shape{entries_.size() + 1, extents_.size() + entry.extents.size(),
                                xattrs_.size() + entry.xattrs.size(),
                                strings_.size() + entry.path.size() + entry.link.size() + 2 * kMaxPathBytes};
  if (auto size = shape.size_bytes(); !size) return std::unexpected(size.error());
  const std::uint32_t added = add_record(entry);
  if (entry.hidden) hidden_.push_back(added);
  auto done = is_mark(entries_[added]) ? add_mark(added) : add_thing(added);
  if (!done) return while_doing(done.error(), "\"", printable(entry.path), "\"");
  return {};
}

Result<void> EntryTableBuilder::set_path(EntryRecord& record, const std::string& path) {
  LB_ASSIGN(const std::string clean, clean_path(path));
  record.path_offset = add_string(clean).offset;
  record.path_length = static_cast<std::uint16_t>(clean.size());
  return {};
}

/// Marks are for the layers below, so nothing here gives way to them; but their names lead where others' do.
Result<void> EntryTableBuilder::add_mark(std::uint32_t entry) {
  EntryRecord& record = entries_[entry];
  const bool opaque = static_cast<EntryType>(record.type) == EntryType::kOpaque;
  Split path = split(strings_, record.path_offset, record.path_length);
  if (opaque) path = {{record.path_offset, record.path_length}, {record.path_offset, 0}};
  const auto place = paths_.find(path.directory);
  // Below what is no directory it hides nothing, since that takes all below its own path away.
  if (!place && place.error().code == ENOTDIR) return {};
  if (!place) return std::unexpected(place.error());
  if (!place->moved) return {};
  return set_path(
      record, paths_.path_of(*place, std::string_view(strings_).substr(path.name.offset, path.name.length)));
}

Result<void> EntryTableBuilder::add_thing(std::uint32_t entry) {
  EntryRecord& record = entries_[entry];
  if (record.path_length == 0) {
    paths_.put_root(entry);
    return {};
  }
  const Split path = split(strings_, record.path_offset, record.path_length);
  LB_ASSIGN(const auto place, paths_.make(path.directory));
  if (place.moved) {
    const auto name = std::string_view(strings_).substr(path.name.offset, path.name.length);
    LB_TRY(set_path(record, paths_.path_of(place, name)));
  }
  paths_.put(entry, place.node, path.name);
  return static_cast<EntryType>(record.type) == EntryType::kHardLink ? bind_link(entry) : Result<void>();
}

Result<void> EntryTableBuilder::bind_link(std::uint32_t link) {
  EntryRecord& record = entries_[link];
  const Split path = split(strings_, record.link_offset, record.link_length);
  const auto name = std::string_view(strings_).substr(path.name.offset, path.name.length);
  LB_ASSIGN(const auto place, paths_.find(path.directory));
  const auto standing = paths_.entry_at(place, name);
  if (!standing || *standing == link) {
    record.type = static_cast<std::uint8_t>(EntryType::kLinkBelow);
    if (!place.moved) return {};
    LB_ASSIGN(const std::string target, clean_path(paths_.path_of(place, name)));
    record.link_offset = add_string(target).offset;
    record.link_length = static_cast<std::uint16_t>(target.size());
    return {};
  }
  const EntryRecord& target = entries_[*standing];
  if (static_cast<EntryType>(target.type) == EntryType::kDirectory)
    return fail(EPERM, "a hard link to the directory \"", printable(path_of(target)), "\"");
  if (static_cast<EntryType>(target.type) == EntryType::kLinkBelow) {
    record.type = target.type;
    record.link_offset = target.link_offset;
    record.link_length = target.link_length;
    return {};
  }
  // A link to a link is one to its target; links are bound in order, so the last of it is found by search.
  std::uint32_t bound = *standing;
  if (is_link(target)) {
    const auto found = std::lower_bound(bound_links_.begin(), bound_links_.end(), *standing,
                                        [](const BoundLink& one, std::uint32_t at) { return one.link < at; });
    bound = found->target;
  }
  bound_links_.push_back({link, bound});
  return {};
}

/// Where a link's target was replaced, or is hidden, the first of its links that stands takes its place.
void EntryTableBuilder::settle_links(const std::vector<bool>& kept) {
  std::unordered_map<std::uint32_t, std::uint32_t> heirs;
  for (const auto& [link, target] : bound_links_) {
    if (!kept[link]) continue;
    std::uint32_t first = target;
    if (!kept[target]) {
      const auto [heir, is_new] = heirs.try_emplace(target, link);
      first = heir->second;
      if (is_new) {
        const EntryRecord own = std::exchange(entries_[link], entries_[target]);
        entries_[link].path_offset = own.path_offset;
        entries_[link].path_length = own.path_length;
        continue;
      }
    }
    entries_[link].link_offset = entries_[first].path_offset;
    entries_[link].link_length = entries_[first].path_length;
  }
}

/// What is kept, sorted; of the marks of one path and sort only one.
std::vector<std::uint32_t> EntryTableBuilder::order(const std::vector<bool>& kept) const {
  std::vector<std::uint32_t> order;
  for (std::uint32_t i = 0; i < entries_.size(); ++i) {
    if (kept[i]) order.push_back(i);
  }
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

Result<EntryTableBuilder::Table> EntryTableBuilder::finish() {
  std::vector<bool> stands(entries_.size());
  for (const std::uint32_t i : paths_.standing()) stands[i] = true;
  for (const std::uint32_t i : hidden_) stands[i] = false;
  for (std::uint32_t i = 0; i < entries_.size(); ++i) stands[i] = stands[i] || is_mark(entries_[i]);
  settle_links(stands);
  const std::vector<std::uint32_t> kept = order(stands);
  Table table;
  table.entries.reserve(kept.size());
  for (const std::uint32_t i : kept) table.entries.push_back(entries_[i]);
  // Extents, xattrs and strings of dropped entries stay: they are few, and harm nothing.
  table.extents = std::move(extents_);
  table.xattrs = std::move(xattrs_);
  table.strings = std::move(strings_);
  if (auto size = table.shape().size_bytes(); !size) return std::unexpected(size.error());
  return table;
}

std::array<std::span<const std::byte>, 4> EntryTableBuilder::Table::parts() const {
  return {std::as_bytes(std::span(entries)), std::as_bytes(std::span(extents)),
          std::as_bytes(std::span(xattrs)), as_bytes(strings)};
}

}  // namespace layerboot::layer
