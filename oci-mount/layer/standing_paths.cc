#include "oci-mount/layer/standing_paths.h"

#include <sys/random.h>
#include <xxhash.h>

#include <utility>

namespace layerboot::layer {

namespace {

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  // Where the kernel has none, names are found all the same.
  [[maybe_unused]] const auto got = ::getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
  return seed;
}

}  // namespace

/// One path on its way down.
struct StandingPaths::Walk {
  Place place;
  std::vector<Text> missing;
  std::vector<Text> rest;  // what is still to be walked; the last comes first
  std::size_t symlinks = 0;
};

StandingPaths::StandingPaths(const std::vector<EntryRecord>& entries, const std::string& strings)
    : entries_(entries), strings_(strings), seed_(random_seed()), nodes_(1) {
  constexpr std::size_t kFirstSlots = 1024;
  slots_.assign(kFirstSlots, kNone);
}

std::string_view StandingPaths::text_of(Text text) const {
  return std::string_view(strings_).substr(text.offset, text.length);
}

EntryType StandingPaths::type_of(const Node& node) const {
  return node.entry == kNone ? EntryType::kDirectory : static_cast<EntryType>(entries_[node.entry].type);
}

std::size_t StandingPaths::slot_of(std::uint32_t parent, std::string_view name) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = ::XXH3_64bits_withSeed(name.data(), name.size(), seed_ + parent) & mask;
  while (slots_[i] != kNone &&
         (nodes_[slots_[i]].parent != parent || text_of(nodes_[slots_[i]].name) != name)) {
    i = (i + 1) & mask;
  }
  return i;
}

std::uint32_t StandingPaths::child(std::uint32_t parent, std::string_view name) const {
  return slots_[slot_of(parent, name)];
}

std::uint32_t StandingPaths::add_node(std::uint32_t parent, Text name, std::uint32_t entry) {
  if (2 * nodes_.size() > slots_.size()) {
    slots_.assign(2 * slots_.size(), kNone);
    for (std::uint32_t i = 1; i < nodes_.size(); ++i) {
      if (!nodes_[i].gone) slots_[slot_of(nodes_[i].parent, text_of(nodes_[i].name))] = i;
    }
  }
  const auto made = static_cast<std::uint32_t>(nodes_.size());
  slots_[slot_of(parent, text_of(name))] = made;
  nodes_.push_back({parent, name, entry, false});
  return made;
}

/// Takes one part of a path: down, up, or aside where a symlink leads.
Result<void> StandingPaths::step(Walk& walk, Text part) const {
  const std::string_view name = text_of(part);
  if (name.empty() || name == ".") return {};
  if (name == "..") {
    if (walk.missing.empty()) {
      walk.place.node = nodes_[walk.place.node].parent;
    } else {
      walk.missing.pop_back();
    }
    return {};
  }
  const std::uint32_t next = walk.missing.empty() ? child(walk.place.node, name) : kNone;
  if (next == kNone) {
    walk.missing.push_back(part);
    return {};
  }
  const EntryType type = type_of(nodes_[next]);
  if (type == EntryType::kDirectory) {
    walk.place.node = next;
    return {};
  }
  if (type != EntryType::kSymlink) {
    return fail(ENOTDIR, "it leads through \"", path_of({walk.place.node, "", false}, name),
                "\", which the same layer makes something else than a directory");
  }
  if (++walk.symlinks > kMaxSymlinks)
    return fail(ELOOP, "it leads through more than ", kMaxSymlinks, " symlinks, the limit");
  const EntryRecord& symlink = entries_[nodes_[next].entry];
  walk.place.moved = true;
  walk.rest.push_back({symlink.link_offset, symlink.link_length});
  if (text_of(walk.rest.back()).starts_with('/')) walk.place.node = kRoot;
  return {};
}

Result<StandingPaths::Walk> StandingPaths::walk_to(Text directory) {
  Walk walk;
  walk.rest.push_back(directory);
  for (std::size_t parts = 0; !walk.rest.empty(); ++parts) {
    if (parts == kMaxPartsWalked)
      return fail(ELOOP, "it leads through more than ", kMaxPartsWalked, " directories, the limit");
    if (walk.symlinks != 0 && ++parts_through_symlinks_ > kMaxPartsThroughSymlinks)
      return fail(E2BIG, "the layer's symlinks lead its paths through more than ", kMaxPartsThroughSymlinks,
                  " directories, the limit");
    Text& rest = walk.rest.back();
    const std::size_t slash = text_of(rest).find('/');
    Text part = rest;
    if (slash == std::string_view::npos) {
      walk.rest.pop_back();
    } else {
      part.length = static_cast<std::uint32_t>(slash);
      rest = {rest.offset + part.length + 1, rest.length - part.length - 1};
    }
    LB_TRY(step(walk, part));
  }
  return walk;
}

Result<StandingPaths::Place> StandingPaths::find(Text directory) {
  LB_ASSIGN(Walk walk, walk_to(directory));
  for (const Text part : walk.missing) {
    if (!walk.place.missing.empty()) walk.place.missing += '/';
    walk.place.missing += text_of(part);
  }
  return std::move(walk.place);
}

Result<StandingPaths::Place> StandingPaths::make(Text directory) {
  if (made_text_ && nodes_.size() < kMaxNames && text_of(*made_text_) == text_of(directory)) return made_;
  LB_ASSIGN(Walk walk, walk_to(directory));
  // The one that is put there is counted, too.
  if (nodes_.size() + walk.missing.size() >= kMaxNames)
    return fail(E2BIG, "the layer has more than ", kMaxNames, " names, the limit");
  for (const Text part : walk.missing) walk.place.node = add_node(walk.place.node, part, kNone);
  made_text_ = directory;
  made_ = walk.place;
  return std::move(walk.place);
}

std::string StandingPaths::path_of(const Place& place, std::string_view name) const {
  std::vector<std::string_view> names;
  for (std::uint32_t at = place.node; at != kRoot; at = nodes_[at].parent)
    names.push_back(text_of(nodes_[at].name));
  std::string path;
  const auto add = [&path](std::string_view part) {
    if (!path.empty() && !part.empty()) path += '/';
    path += part;
  };
  for (auto part = names.rbegin(); part != names.rend(); ++part) add(*part);
  add(place.missing);
  add(name);
  return path;
}

void StandingPaths::put(std::uint32_t entry, std::uint32_t parent, Text name) {
  const std::size_t slot = slot_of(parent, text_of(name));
  const std::uint32_t there = slots_[slot];
  if (there == kNone) {
    add_node(parent, name, entry);
    return;
  }
  const bool was_directory = type_of(nodes_[there]) == EntryType::kDirectory;
  const bool is_directory = static_cast<EntryType>(entries_[entry].type) == EntryType::kDirectory;
  if (!was_directory || !is_directory) made_text_.reset();
  if (was_directory && !is_directory) {
    nodes_[there].gone = true;
    slots_[slot] = static_cast<std::uint32_t>(nodes_.size());
    nodes_.push_back({parent, name, entry, false});
    return;
  }
  nodes_[there].entry = entry;
}

std::optional<std::uint32_t> StandingPaths::entry_at(const Place& place, std::string_view name) const {
  const std::uint32_t node = place.missing.empty() ? child(place.node, name) : kNone;
  if (node == kNone || nodes_[node].entry == kNone) return std::nullopt;
  return nodes_[node].entry;
}

std::vector<std::uint32_t> StandingPaths::standing() const {
  std::vector<std::uint32_t> standing;
  std::vector<bool> stands(nodes_.size());
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    // A node is made after the one that holds it.
    stands[i] = !nodes_[i].gone && (i == kRoot || stands[nodes_[i].parent]);
    if (stands[i] && nodes_[i].entry != kNone) standing.push_back(nodes_[i].entry);
  }
  return standing;
}

}  // namespace layerboot::layer
