// StandingPaths: what stands at each path of a layer while its tar is unpacked in its order.
//
// Follows containerd's archive.Apply and umoci's layer/tar_extract.go: the directory part of a name is
// resolved within the layer's root, through the symlinks that stand there at that moment; its last part is
// not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/index_format.h"

namespace layerboot::layer {

/// Of a layer's things, not its marks: a tree of names, each with the entry that was put there last. It keeps
/// numbers, and reads the records and texts they are of. Not thread-safe.
class StandingPaths {
 public:
  static constexpr std::size_t kMaxSymlinks = 255;  // followed for one path, as containerd and umoci have it
  static constexpr std::size_t kMaxPartsWalked =
      8192;  // for one path, the parts of symlinks' targets counted

  /// Of all of a layer's paths, the parts that are walked beside those that are written in them.
  static constexpr std::uint64_t kMaxPartsThroughSymlinks = 1U << 25U;

  /// Names, those of directories that have no entry counted: as many as an image may have (tree::kMaxNodes).
  static constexpr std::size_t kMaxNames = 16'000'000;

  /// `entries` and `strings` must outlive this, and may grow.
  StandingPaths(const std::vector<EntryRecord>& entries, const std::string& strings);

  /// A piece of `strings`.
  struct Text {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
  };

  /// Where a directory's path leads.
  struct Place {
    std::uint32_t node = 0;  // the nearest directory that stands
    std::string missing;     // what is not there of the rest; "" when all is
    bool moved = false;      // a symlink was followed
  };
  /// `directory` is clean, or "". ELOOP and ENOTDIR where it leads through too many symlinks or through what
  /// is no directory; E2BIG when all paths together lead through more than kMaxPartsThroughSymlinks.
  Result<Place> find(Text directory);
  /// The same, and makes what is missing: directories without entries. E2BIG over kMaxNames.
  Result<Place> make(Text directory);

  /// The path of `place`, and of `name` in it.
  [[nodiscard]] std::string path_of(const Place& place, std::string_view name) const;

  /// The entry `entry` is unpacked now as `name` in the directory `parent`. It takes away what stood there,
  /// with all below it, unless both are directories.
  void put(std::uint32_t entry, std::uint32_t parent, Text name);

  /// The same for the root, whose entry is a directory's.
  void put_root(std::uint32_t entry) { nodes_[kRoot].entry = entry; }

  /// The entry that stands as `name` in `place`.
  [[nodiscard]] std::optional<std::uint32_t> entry_at(const Place& place, std::string_view name) const;

  /// The entries that stand, in no order.
  [[nodiscard]] std::vector<std::uint32_t> standing() const;

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  static constexpr std::uint32_t kRoot = 0;
  struct Node {
    std::uint32_t parent = kRoot;
    Text name;
    std::uint32_t entry = kNone;  // none: a directory that a path takes for granted
    bool gone = false;            // something that is no directory took its place, and its children's
  };
  struct Walk;

  [[nodiscard]] std::string_view text_of(Text text) const;
  [[nodiscard]] EntryType type_of(const Node& node) const;
  [[nodiscard]] std::size_t slot_of(std::uint32_t parent, std::string_view name) const;
  [[nodiscard]] std::uint32_t child(std::uint32_t parent, std::string_view name) const;
  std::uint32_t add_node(std::uint32_t parent, Text name, std::uint32_t entry);
  [[nodiscard]] Result<void> step(Walk& walk, Text part) const;
  Result<Walk> walk_to(Text directory);

  const std::vector<EntryRecord>& entries_;
  const std::string& strings_;
  const std::uint64_t seed_;  // of the hash table: a layer must not know which names fall together
  std::vector<Node> nodes_;
  std::uint64_t parts_through_symlinks_ = 0;
  std::vector<std::uint32_t> slots_;  // nodes by parent and name; a hash table, a power of two long

  // Entries come in runs of one directory.
  std::optional<Text> made_text_;
  Place made_;
};

}  // namespace layerboot::layer
