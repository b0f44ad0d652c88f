// The records of a tree index file, as they lie on disk. FORMAT.md describes them byte by byte.
#pragma once

#include <array>
#include <cstdint>

namespace layerboot::tree {

/// Raised whenever a record or a merge rule changes: older files are then rebuilt, not read.
inline constexpr std::uint32_t kTreeFormatVersion = 3;
inline constexpr std::array<char, 8> kTreeMagic = {'L', 'B', 'T', 'R', 'E', 'E', '\r', '\n'};

/// A table or the byte pool: where it lies in the file, and how many records (bytes) it has.
struct TableRef {
  std::uint64_t offset;
  std::uint64_t count;
};

struct TreeHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t key_length;
  std::uint64_t key_offset;  // in the pool: what this tree was made of
  TableRef nodes;
  TableRef dirents;
  TableRef extents;
  TableRef xattrs;
  TableRef links;
  TableRef pool;
  std::uint64_t total_blocks;  // of 512 bytes
  std::uint64_t body_hash;     // XXH3-64 of everything after the header
};
static_assert(sizeof(TreeHeader) == 136);

struct NodeRecord {
  std::uint64_t size_bytes;
  std::uint64_t blocks;  // of 512 bytes
  std::int64_t mtime_sec;
  std::uint32_t mtime_nsec;
  std::uint32_t mode;  // with the type bits, as st_mode
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint32_t nlink;
  std::uint32_t rdev;         // as Linux's new_encode_dev(), as FUSE carries it
  std::uint32_t parent;       // the directory that holds it (of several names: the first's); the root: itself
  std::uint32_t first_child;  // directory: into dirents; file: into extents; symlink: target in the pool
  std::uint32_t child_count;  // number of dirents or extents; length of the target
  std::uint32_t first_xattr;
  std::uint32_t xattr_count;
  std::uint32_t first_link;
  std::uint32_t link_count;  // 0 unless there are several names
  std::uint32_t first_name;  // its entry in `parent`, into dirents; 0 of the root
};
static_assert(sizeof(NodeRecord) == 80);

struct DirentRecord {
  std::uint32_t name_offset;
  std::uint16_t name_length;
  std::uint8_t type;  // DT_*
  std::uint8_t reserved;
  std::uint32_t node;
};
static_assert(sizeof(DirentRecord) == 12);

struct ExtentRecord {
  std::uint64_t file_offset;
  std::uint64_t stream_offset;
  std::uint64_t length_bytes;
  std::uint32_t layer;  // 0 is the lowest
  std::uint32_t reserved;
};
static_assert(sizeof(ExtentRecord) == 32);

struct XattrRecord {
  std::uint32_t name_offset;
  std::uint32_t value_offset;
  std::uint32_t value_length;
  std::uint16_t name_length;
  std::uint16_t reserved;
};
static_assert(sizeof(XattrRecord) == 16);

struct LinkRecord {
  std::uint32_t parent;
  std::uint32_t name_offset;
  std::uint16_t name_length;
  std::uint16_t reserved;
};
static_assert(sizeof(LinkRecord) == 12);

}  // namespace layerboot::tree
