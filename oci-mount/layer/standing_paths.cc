#include "oci-mount/layer/standing_paths.h"

#include <sys/random.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "oci-mount/base/path_rules.h"

namespace layerboot::layer {

namespace {

static_assert(kMaxNameBytes <= UINT8_MAX && kMaxSymlinkBytes <= UINT16_MAX);

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
  std::vector<std::string_view> missing;
  std::vector<std::string_view> rest;  // what is still to be walked; the last comes first
  std::size_t symlinks = 0;
};

StandingPaths::StandingPaths() : seed_(random_seed()), nodes_(1) {
  constexpr std::size_t kFirstSlots = 1024;
  slots_.assign(kFirstSlots, kNone);
}

std::string_view StandingPaths::name_of(const Node& node) const {
  return texts_.at(node.text, node.name_length);
}

std::string_view StandingPaths::target_of(const Node& node) const {
  std::uint16_t size_bytes = 0;
  const auto size_at = texts_.at(node.text, node.name_length + sizeof(size_bytes)).substr(node.name_length);
  std::memcpy(&size_bytes, size_at.data(), sizeof(size_bytes));
  const std::size_t before = node.name_length + sizeof(size_bytes);
  return texts_.at(node.text, before + size_bytes).substr(before);
}

StandingPaths::Node StandingPaths::node_of(const Thing& thing, std::uint32_t parent, std::string_view name) {
  Node node{.parent = parent,
            .entry = thing.entry,
            .name_length = static_cast<std::uint8_t>(name.size()),
            .kind = thing.kind};
  if (thing.kind == Kind::kSymlink) {
    const auto size_bytes = static_cast<std::uint16_t>(thing.target.size());
    std::string text(name);
    text.append(reinterpret_cast<const char*>(&size_bytes), sizeof(size_bytes));
    node.text = texts_.add(text += thing.target);
  } else {
    node.text = texts_.add(name);
  }
  return node;
}

std::size_t StandingPaths::slot_of(std::uint32_t parent, std::string_view name) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = ::XXH3_64bits_withSeed(name.data(), name.size(), seed_ + parent) & mask;
  while (slots_[i] != kNone && (nodes_[slots_[i]].parent != parent || name_of(nodes_[slots_[i]]) != name)) {
    i = (i + 1) & mask;
  }
  return i;
}

std::uint32_t StandingPaths::child(std::uint32_t parent, std::string_view name) const {
  return slots_[slot_of(parent, name)];
}

std::uint32_t StandingPaths::add_node(const Node& node) {
  // Three quarters full at most.
  if (4 * nodes_.size() > 3 * slots_.size()) {
    const std::size_t size = 2 * slots_.size();
    slots_ = {};  // before the new ones take their memory
    slots_.assign(size, kNone);
    for (std::uint32_t i = kFirstNamed; i < nodes_.size(); ++i) {
      if (!nodes_[i].gone) slots_[slot_of(nodes_[i].parent, name_of(nodes_[i]))] = i;
    }
  }
  const auto made = static_cast<std::uint32_t>(nodes_.size());
  slots_[slot_of(node.parent, name_of(node))] = made;
  nodes_.push_back(node);
  return made;
}

/// Takes one part of a path: down, up, or aside where a symlink leads.
Result<void> StandingPaths::step(Walk& walk, std::string_view part) const {
  if (part.empty() || part == ".") return {};
  if (part == "..") {
    if (walk.missing.empty()) {
      walk.place.node = nodes_[walk.place.node].parent;
    } else {
      walk.missing.pop_back();
    }
    return {};
  }
  const std::uint32_t next = walk.missing.empty() ? child(walk.place.node, part) : kNone;
  if (next == kNone) {
    walk.missing.push_back(part);
    return {};
  }
  const Node& node = nodes_[next];
  if (node.kind == Kind::kDirectory) {
    walk.place.node = next;
    return {};
  }
  if (node.kind != Kind::kSymlink) {
    return fail(ENOTDIR, "it leads through \"", path_of({walk.place.node, "", false}, part),
                "\", which the same layer makes something else than a directory");
  }
  if (++walk.symlinks > kMaxSymlinks)
    return fail(ELOOP, "it leads through more than ", kMaxSymlinks, " symlinks, the limit");
  walk.place.moved = true;
  walk.rest.push_back(target_of(node));
  if (walk.rest.back().starts_with('/')) walk.place.node = kRoot;
  return {};
}

Result<StandingPaths::Walk> StandingPaths::walk_to(std::string_view directory) {
  Walk walk;
  walk.rest.push_back(directory);
  for (std::size_t parts = 0; !walk.rest.empty(); ++parts) {
    if (parts == kMaxPartsWalked)
      return fail(ELOOP, "it leads through more than ", kMaxPartsWalked, " directories, the limit");
    if (walk.symlinks != 0 && ++parts_through_symlinks_ > kMaxPartsThroughSymlinks)
      return fail(E2BIG, "the layer's symlinks lead its paths through more than ", kMaxPartsThroughSymlinks,
                  " directories, the limit");
    std::string_view& rest = walk.rest.back();
    const std::string_view part = rest.substr(0, rest.find('/'));
    if (part.size() == rest.size()) {
      walk.rest.pop_back();
    } else {
      rest.remove_prefix(part.size() + 1);
    }
    LB_TRY(step(walk, part));
  }
  return walk;
}

Result<StandingPaths::Place> StandingPaths::find(std::string_view directory) {
  LB_ASSIGN(Walk walk, walk_to(directory));
  for (const std::string_view part : walk.missing) {
    if (!walk.place.missing.empty()) walk.place.missing += '/';
    walk.place.missing += part;
  }
  return std::move(walk.place);
}

Result<StandingPaths::Place> StandingPaths::make(std::string_view directory) {
  if (made_path_ && nodes_.size() < kMaxNames && *made_path_ == directory) return made_;
  LB_ASSIGN(Walk walk, walk_to(directory));
  // The one that is put there is counted, too.
  if (nodes_.size() + walk.missing.size() >= kMaxNames)
    return fail(E2BIG, "the layer has more than ", kMaxNames, " names, the limit");
  for (const std::string_view part : walk.missing) {
    walk.place.node =
        add_node(node_of({.entry = kNone, .kind = Kind::kDirectory, .target = {}}, walk.place.node, part));
  }
  made_path_ = directory;
  made_ = walk.place;
  return std::move(walk.place);
}

std::string StandingPaths::path_of(const Place& place, std::string_view name) const {
  std::vector<std::string_view> names;
  for (std::uint32_t at = place.node; at != kRoot; at = nodes_[at].parent)
    names.push_back(name_of(nodes_[at]));
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

void StandingPaths::put(const Thing& thing, std::uint32_t parent, std::string_view name) {
  const std::size_t slot = slot_of(parent, name);
  const std::uint32_t there = slots_[slot];
  if (there == kNone) {
    add_node(node_of(thing, parent, name));
    return;
  }
  Node& node = nodes_[there];
  const bool was_directory = node.kind == Kind::kDirectory;
  const bool is_directory = thing.kind == Kind::kDirectory;
  if (!was_directory || !is_directory) made_path_.reset();
  if (was_directory && !is_directory) {
    node.gone = true;
    slots_[slot] = static_cast<std::uint32_t>(nodes_.size());
    nodes_.push_back(node_of(thing, parent, name));
    return;
  }
  if (thing.kind == Kind::kSymlink) {
    node = node_of(thing, parent, name);
    return;
  }
  node.entry = thing.entry;
  node.kind = thing.kind;
}

std::optional<StandingPaths::Thing> StandingPaths::thing_at(const Place& place, std::string_view name) const {
  const std::uint32_t at = place.missing.empty() ? child(place.node, name) : kNone;
  if (at == kNone || nodes_[at].entry == kNone) return std::nullopt;
  return Thing{.entry = nodes_[at].entry, .kind = nodes_[at].kind, .target = {}};
}

/// The children of each node, one family after the other.
struct StandingPaths::Family {
  std::vector<std::uint32_t> first;  // of each node, its first child in `children`; and one more, their end
  std::vector<std::uint32_t> children;
};

StandingPaths::Family StandingPaths::family() const {
  Family family;
  family.first.resize(nodes_.size() + 2);
  // Counted two places on, so that filling moves each to where it belongs.
  for (std::uint32_t i = kFirstNamed; i < nodes_.size(); ++i) {
    if (!nodes_[i].gone) ++family.first[nodes_[i].parent + 2];
  }
  for (std::size_t i = 2; i < family.first.size(); ++i) family.first[i] += family.first[i - 1];
  family.children.resize(family.first.back());
  for (std::uint32_t i = kFirstNamed; i < nodes_.size(); ++i) {
    if (!nodes_[i].gone) family.children[family.first[nodes_[i].parent + 1]++] = i;
  }
  return family;
}

void StandingPaths::each_standing(const Visit& visit) {
  slots_ = {};
  Family all = family();
  struct Level {
    std::uint32_t next;
    std::uint32_t end;
    std::size_t path_bytes;
  };
  std::vector<Level> levels;
  std::string path;
  const auto enter = [&](std::uint32_t i) {
    if (nodes_[i].entry != kNone) visit(path, nodes_[i].entry);
    const auto first = all.first[i];
    const auto end = all.first[i + 1];
    std::sort(all.children.begin() + first, all.children.begin() + end,
              [this](std::uint32_t a, std::uint32_t b) { return name_of(nodes_[a]) < name_of(nodes_[b]); });
    levels.push_back({first, end, path.size()});
  };
  enter(kRoot);
  while (!levels.empty()) {
    Level& level = levels.back();
    path.resize(level.path_bytes);
    if (level.next == level.end) {
      levels.pop_back();
      continue;
    }
    const std::uint32_t i = all.children[level.next++];
    if (!path.empty()) path += '/';
    path += name_of(nodes_[i]);
    enter(i);
  }
  nodes_ = {};
  texts_ = {};
}

}  // namespace layerboot::layer
