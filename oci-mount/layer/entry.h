// One entry of a layer, as its index gives it to the tree builder.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace layerboot::layer {

enum class EntryType : std::uint8_t {
  kFile = 1,
  kDirectory,
  kSymlink,
  kCharDevice,
  kBlockDevice,
  kFifo,
  kHardLink,   // another name for `link`, an entry of this layer that is no link
  kWhiteout,   // hides `path` of the layers below; the name is without its .wh. prefix
  kOpaque,     // hides what the layers below have in the directory `path`
  kLinkBelow,  // another name for what the layers below have at `link`; or this layer, where they have
               // nothing
};

/// `length_bytes` bytes of a file from `file_offset` on, found at `stream_offset` of the layer's
/// uncompressed tar stream. What no extent covers is a hole.
struct Extent {
  std::uint64_t file_offset;
  std::uint64_t stream_offset;
  std::uint64_t length_bytes;
};

struct XattrView {
  std::string_view name;
  std::string_view value;
};

/// Views into a mapped index: valid as long as the LayerIndex is.
struct EntryView {
  std::string_view path;  // clean and relative: no leading '/', no "", "." or ".." part; root is ""
  EntryType type = EntryType::kFile;
  std::uint32_t mode = 0;  // permission bits only, 07777
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t mtime_sec = 0;
  std::uint32_t mtime_nsec = 0;
  std::uint32_t rdev_major = 0;
  std::uint32_t rdev_minor = 0;
  std::uint64_t size_bytes = 0;
  std::string_view link;            // a symlink's target as it stands; a link's target, clean as `path`
  std::span<const Extent> extents;  // of a file, by file_offset, not overlapping
  std::vector<XattrView> xattrs;
};

}  // namespace layerboot::layer
