// StandingPaths: what stands at each path of a layer while its tar is unpacked in its order.
//
// Follows containerd's archive.Apply and umoci's layer/tar_extract.go: the directory part of a name is
// resolved within the layer's root, through the symlinks that stand there at that moment; its last part is
// not.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/text_arena.h"

namespace layerboot::layer {

/// Of a layer's things, not its marks: a tree of names, each with the number of the entry that was put there
/// last. It takes some 40 bytes for each name, and knows of an entry only what paths depend on. Not
/// thread-safe.
class StandingPaths {
 public:
  static constexpr std::size_t kMaxSymlinks = 255;  // followed for one path, as containerd and umoci have it
  static constexpr std::size_t kMaxPartsWalked =
      8192;  // for one path, the parts of symlinks' targets counted

  /// Of all of a layer's paths, the parts that are walked beside those that are written in them.
  static constexpr std::uint64_t kMaxPartsThroughSymlinks = 1U << 25U;

  /// Names, those of directories that have no entry counted: as many as an image may have (tree::kMaxNodes).
  static constexpr std::size_t kMaxNames = 16'000'000;

  StandingPaths();

  /// Where a directory's path leads.
  struct Place {
    std::uint32_t node = 0;  // the nearest directory that stands
    std::string missing;     // what is not there of the rest; "" when all is
    bool moved = false;      // a symlink was followed
  };
  /// `directory` is clean, or "". ELOOP and ENOTDIR where it leads through too many symlinks or through what
  /// is no directory; E2BIG when all paths together lead through more than kMaxPartsThroughSymlinks.
  Result<Place> find(std::string_view directory);
  /// The same, and makes what is missing: directories without entries. E2BIG over kMaxNames.
  Result<Place> make(std::string_view directory);

  /// The path of `place`, and of `name` in it.
  [[nodiscard]] std::string path_of(const Place& place, std::string_view name) const;

  enum class Kind : std::uint8_t { kDirectory, kSymlink, kOther };
  /// What an entry is to paths.
  struct Thing {
    std::uint32_t entry = 0;  // its number
    Kind kind = Kind::kOther;
    std::string_view target;  // a symlink's
  };
  /// `thing` is unpacked now as `name` in the directory `parent`. It takes away what stood there, with all
  /// below it, unless both are directories.
  void put(const Thing& thing, std::uint32_t parent, std::string_view name);

  /// The same for the root, whose entry is a directory's.
  void put_root(std::uint32_t entry) { nodes_[kRoot].entry = entry; }

  /// What stands as `name` in `place`; a directory without an entry does not. Its target is left out.
  [[nodiscard]] std::optional<Thing> thing_at(const Place& place, std::string_view name) const;

  /// Gives the entries that stand, with their paths, in the order of an EntryTable. Call once, at the end.
  using Visit = std::function<void(std::string_view path, std::uint32_t entry)>;
  void each_standing(const Visit& visit);

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  static constexpr std::uint32_t kRoot = 0;
  static constexpr std::uint32_t kFirstNamed = 1;
  struct Node {
    std::uint32_t parent = kRoot;
    std::uint32_t text = 0;        // the name's place; behind it, a symlink's target and its size
    std::uint32_t entry = kNone;   // none: a directory that a path takes for granted
    std::uint8_t name_length = 0;  // kMaxNameBytes at most
    Kind kind = Kind::kDirectory;
    bool gone = false;  // something that is no directory took its place, and its children's
  };
  static_assert(sizeof(Node) == 16);
  struct Walk;
  struct Family;

  [[nodiscard]] std::string_view name_of(const Node& node) const;
  [[nodiscard]] std::string_view target_of(const Node& node) const;
  [[nodiscard]] Node node_of(const Thing& thing, std::uint32_t parent, std::string_view name);
  [[nodiscard]] std::size_t slot_of(std::uint32_t parent, std::string_view name) const;
  [[nodiscard]] std::uint32_t child(std::uint32_t parent, std::string_view name) const;
  std::uint32_t add_node(const Node& node);
  [[nodiscard]] Result<void> step(Walk& walk, std::string_view part) const;
  Result<Walk> walk_to(std::string_view directory);
  [[nodiscard]] Family family() const;

  const std::uint64_t seed_;  // of the hash table: a layer must not know which names fall together
  TextArena texts_;
  std::deque<Node> nodes_;  // which does not move what it has when it grows
  std::uint64_t parts_through_symlinks_ = 0;
  std::vector<std::uint32_t> slots_;  // nodes by parent and name; a hash table, a power of two long

  // Entries come in runs of one directory.
  std::optional<std::string> made_path_;
  Place made_;
};

}  // namespace layerboot::layer
