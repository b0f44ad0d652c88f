#include "oci-mount/layer/entry_table_builder.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

bool is_mark(EntryType type) { return sort_of(type) != 2; }

StandingPaths::Kind kind_of(EntryType type) {
  if (type == EntryType::kDirectory) return StandingPaths::Kind::kDirectory;
  return type == EntryType::kSymlink ? StandingPaths::Kind::kSymlink : StandingPaths::Kind::kOther;
}

/// The directory of a path, and its last part.
struct Split {
  std::string_view directory;
  std::string_view name;
};
Split split(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {{}, path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

/// Whatever does not depend on other entries.
EntryRecord record_of(const TarEntry& entry) {
  EntryRecord record;
  record.size_bytes = entry.size_bytes;
  record.mtime_sec = entry.mtime_sec;
  record.mtime_nsec = entry.mtime_nsec;
  record.uid = entry.uid;
  record.gid = entry.gid;
  record.rdev_major = entry.rdev_major;
  record.rdev_minor = entry.rdev_minor;
  record.extent_count = static_cast<std::uint32_t>(entry.extents.size());
  record.xattr_count = static_cast<std::uint32_t>(entry.xattrs.size());
  record.mode = static_cast<std::uint16_t>(entry.mode);
  record.type = static_cast<std::uint8_t>(entry.type);
  return record;
}

}  // namespace

Result<EntryTableBuilder::Text> EntryTableBuilder::add_string(std::string_view text) {
  const Text added{static_cast<std::uint32_t>(parts_.strings.size()),
                   static_cast<std::uint32_t>(text.size())};
  LB_TRY(parts_.strings.append(text));
  return added;
}

Result<void> EntryTableBuilder::set_link(EntryRecord& record, std::string_view link) {
  LB_ASSIGN(const Text text, add_string(link));
  record.link_offset = text.offset;
  record.link_length = static_cast<std::uint16_t>(text.length);
  return {};
}

Result<void> EntryTableBuilder::append(EntryRecord record, const TarEntry& entry, std::string_view path) {
  LB_ASSIGN(const Text text, add_string(path));
  record.path_offset = text.offset;
  record.path_length = static_cast<std::uint16_t>(text.length);
  record.first_extent = static_cast<std::uint32_t>(parts_.extents.size());
  record.first_xattr = static_cast<std::uint32_t>(parts_.xattrs.size());
  LB_TRY(parts_.extents.append(entry.extents));
  for (const auto& [name, value] : entry.xattrs) {
    LB_ASSIGN(const Text name_text, add_string(name));
    LB_ASSIGN(const Text value_text, add_string(value));
    LB_TRY(
        parts_.xattrs.push_back({name_text.offset, value_text.offset, name_text.length, value_text.length}));
  }
  return parts_.entries.push_back(record);
}

Result<void> EntryTableBuilder::add(const TarEntry& entry) {
  // A symlink on its way may give it another path, and its link.
  const EntryTable::Shape shape{
      parts_.entries.size() + 1, parts_.extents.size() + entry.extents.size(),
      parts_.xattrs.size() + entry.xattrs.size(),
      parts_.strings.size() + entry.path.size() + entry.link.size() + 2 * kMaxPathBytes};
  if (auto size = shape.size_bytes(); !size) return std::unexpected(size.error());
  if (entry.hidden) hidden_.push_back(next_entry());
  auto done = is_mark(entry.type) ? add_mark(entry) : add_thing(entry);
  if (!done) return while_doing(done.error(), "\"", printable(entry.path), "\"");
  return {};
}

/// Marks are for the layers below, so nothing here gives way to them; but their names lead where others' do.
Result<void> EntryTableBuilder::add_mark(const TarEntry& entry) {
  const bool opaque = entry.type == EntryType::kOpaque;
  const Split written = opaque ? Split{entry.path, {}} : split(entry.path);
  std::string path = entry.path;
  const auto place = paths_.find(written.directory);
  // Below what is no directory it hides nothing, since that takes all below its own path away.
  if (!place && place.error().code != ENOTDIR) return std::unexpected(place.error());
  if (place && place->moved) {
    LB_ASSIGN(path, clean_path(paths_.path_of(*place, written.name)));
  }
  marks_.push_back(
      {next_entry(), mark_paths_.add(path), static_cast<std::uint16_t>(path.size()), entry.type});
  EntryRecord record = record_of(entry);
  LB_TRY(set_link(record, entry.link));
  return append(record, entry, path);
}

Result<void> EntryTableBuilder::add_thing(const TarEntry& entry) {
  EntryRecord record = record_of(entry);
  if (entry.path.empty()) {
    paths_.put_root(next_entry());
    LB_TRY(set_link(record, entry.link));
    return append(record, entry, entry.path);
  }
  const Split written = split(entry.path);
  LB_ASSIGN(const auto place, paths_.make(written.directory));
  std::string path = entry.path;
  if (place.moved) {
    LB_ASSIGN(path, clean_path(paths_.path_of(place, written.name)));
  }
  paths_.put({.entry = next_entry(), .kind = kind_of(entry.type), .target = entry.link}, place.node,
             written.name);
  LB_TRY(entry.type == EntryType::kHardLink ? bind_link(record, entry.link) : set_link(record, entry.link));
  return append(record, entry, path);
}

/// Of the entry that comes next.
Result<void> EntryTableBuilder::bind_link(EntryRecord& record, std::string_view target) {
  const Split written = split(target);
  LB_ASSIGN(const auto place, paths_.find(written.directory));
  const auto standing = paths_.thing_at(place, written.name);
  if (!standing || standing->entry == next_entry()) {
    record.type = static_cast<std::uint8_t>(EntryType::kLinkBelow);
    if (!place.moved) return set_link(record, target);
    LB_ASSIGN(const std::string moved, clean_path(paths_.path_of(place, written.name)));
    return set_link(record, moved);
  }
  if (standing->kind == StandingPaths::Kind::kDirectory)
    return fail(EPERM, "a hard link to the directory \"", printable(paths_.path_of(place, written.name)),
                "\"");
  LB_ASSIGN(const EntryRecord there, parts_.entries.at(standing->entry));
  if (static_cast<EntryType>(there.type) == EntryType::kLinkBelow) {
    record.type = there.type;
    record.link_offset = there.link_offset;
    record.link_length = there.link_length;
    return {};
  }
  // A link to a link is one to its target; links are bound in order, so the last of it is found by search.
  std::uint32_t bound = standing->entry;
  if (static_cast<EntryType>(there.type) == EntryType::kHardLink) {
    const auto found = std::lower_bound(bound_links_.begin(), bound_links_.end(), bound,
                                        [](const BoundLink& one, std::uint32_t at) { return one.link < at; });
    bound = found->target;
  }
  bound_links_.push_back({next_entry(), bound});
  return {};
}

std::string_view EntryTableBuilder::path_of(const Mark& mark) const {
  return mark_paths_.at(mark.path, mark.path_length);
}

/// By path; of those of one path and sort only the last.
std::vector<EntryTableBuilder::Mark> EntryTableBuilder::sorted_marks() {
  std::vector<Mark> marks = std::move(marks_);
  std::sort(marks.begin(), marks.end(), [&](const Mark& a, const Mark& b) {
    if (path_of(a) != path_of(b)) return path_before(path_of(a), path_of(b));
    if (a.type != b.type) return sort_of(a.type) < sort_of(b.type);
    return a.entry > b.entry;  // the last one first, so that unique() keeps it
  });
  const auto end = std::unique(marks.begin(), marks.end(), [&](const Mark& a, const Mark& b) {
    return a.type == b.type && path_of(a) == path_of(b);
  });
  marks.erase(end, marks.end());
  return marks;
}

/// The table's; `stands` is told which things it has.
std::vector<std::uint32_t> EntryTableBuilder::order(std::vector<bool>& stands) {
  std::vector<bool> is_hidden(stands.size());
  for (const std::uint32_t i : hidden_) is_hidden[i] = true;
  const std::vector<Mark> marks = sorted_marks();
  std::vector<std::uint32_t> order;
  order.reserve(stands.size());
  auto mark = marks.begin();
  paths_.each_standing([&](std::string_view path, std::uint32_t entry) {
    if (is_hidden[entry]) return;
    // A mark comes before what has its path.
    while (mark != marks.end() && !path_before(path, path_of(*mark))) order.push_back((mark++)->entry);
    order.push_back(entry);
    stands[entry] = true;
  });
  for (; mark != marks.end(); ++mark) order.push_back(mark->entry);
  return order;
}

/// Where a link's target was replaced, or is hidden, the first of its links that stands takes its place.
std::vector<BuiltEntryTable::Link> EntryTableBuilder::settled_links(const std::vector<bool>& stands) const {
  std::vector<BuiltEntryTable::Link> links;
  std::unordered_map<std::uint32_t, std::uint32_t> heirs;
  for (const auto& [link, target] : bound_links_) {
    if (!stands[link]) continue;
    if (stands[target]) {
      links.push_back({link, target});
      continue;
    }
    const auto [heir, is_new] = heirs.try_emplace(target, link);
    links.push_back({link, is_new ? target : heir->second, is_new});
  }
  return links;
}

Result<BuiltEntryTable> EntryTableBuilder::finish() {
  std::vector<bool> stands(next_entry());
  std::vector<std::uint32_t> kept = order(stands);
  std::vector<BuiltEntryTable::Link> links = settled_links(stands);
  // Extents, xattrs and strings of dropped entries stay: they are few, and harm nothing.
  BuiltEntryTable table(std::move(parts_));
  table.order_ = std::move(kept);
  table.links_ = std::move(links);
  if (auto size = table.shape().size_bytes(); !size) return std::unexpected(size.error());
  return table;
}

Result<EntryRecord> BuiltEntryTable::record(std::uint32_t entry) const {
  LB_ASSIGN(EntryRecord own, parts_.entries.at(entry));
  if (static_cast<EntryType>(own.type) != EntryType::kHardLink) return own;
  const auto link = std::lower_bound(links_.begin(), links_.end(), entry,
                                     [](const Link& one, std::uint32_t at) { return one.link < at; });
  LB_ASSIGN(EntryRecord of, parts_.entries.at(link->of));
  if (link->is_heir) {
    of.path_offset = own.path_offset;
    of.path_length = own.path_length;
    return of;
  }
  own.link_offset = of.path_offset;
  own.link_length = of.path_length;
  return own;
}

Result<void> BuiltEntryTable::each_piece(const Take& take) const {
  std::vector<EntryRecord> records;
  records.reserve(Spilled<EntryRecord>::kPieceItems);
  for (std::size_t i = 0; i < order_.size(); ++i) {
    LB_ASSIGN(const EntryRecord one, record(order_[i]));
    records.push_back(one);
    if (records.size() < Spilled<EntryRecord>::kPieceItems && i + 1 < order_.size()) continue;
    LB_TRY(take(std::as_bytes(std::span(records))));
    records.clear();
  }
  const auto as_it_lies = [&take](auto items) { return take(std::as_bytes(items)); };
  LB_TRY(parts_.extents.each_piece(as_it_lies));
  LB_TRY(parts_.xattrs.each_piece(as_it_lies));
  return parts_.strings.each_piece(as_it_lies);
}

}  // namespace layerboot::layer
