// The layer index's records as they lie in the file. FORMAT.md describes them byte by byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "oci-mount/layer/entry.h"

namespace layerboot::layer {

inline constexpr std::array<char, 8> kIndexMagic{'L', 'B', 'L', 'I', 'D', 'X', '\n', '\x1a'};
/// Raised with every change of the bytes below.
inline constexpr std::uint32_t kIndexFormatVersion = 4;
/// Raised when the same tar would give other entries than before.
inline constexpr std::uint32_t kIndexPolicyVersion = 2;

/// What a layer is known by.
enum class IdentityKind : std::uint32_t {
  kNone = 0,
  kSha256 = 1,
  kSha512 = 2,
  kLocalFile = 3,
  kDirectory = 4,
};

/// A digest's bytes; for kLocalFile five u64: device, inode, size, mtime seconds, mtime nanoseconds; for
/// kDirectory two u64: the hash of its walk.
struct IdentityRecord {
  IdentityKind kind = IdentityKind::kNone;
  std::uint32_t reserved = 0;
  std::array<std::byte, 64> bytes{};

  friend bool operator==(const IdentityRecord&, const IdentityRecord&) = default;
};
static_assert(sizeof(IdentityRecord) == 72);

struct IndexHeader {
  std::array<char, 8> magic{};
  std::uint32_t format_version = 0;
  std::uint32_t policy_version = 0;
  std::uint32_t compression = 0;  // store::Compression
  std::uint32_t source_size_bytes = 0;
  IdentityRecord blob;
  IdentityRecord diff_id;  // kNone for a local file
  std::uint64_t blob_size_bytes = 0;
  std::uint64_t stream_size_bytes = 0;
  std::uint64_t checkpoint_count = 0;  // the closing one counted; 0 for a directory
  std::uint64_t windows_size_bytes = 0;
  std::uint64_t entry_count = 0;
  std::uint64_t extent_count = 0;
  std::uint64_t xattr_count = 0;
  std::uint64_t strings_size_bytes = 0;
  std::uint64_t entries_packed_bytes = 0;  // the entry table as stored, zstd
  std::uint64_t recut_size_bytes = 0;      // of the recut file that checkpoints are of; 0: there is none
  std::uint64_t file_hash = 0;             // XXH3-64 of the whole file, this field taken as 0
};
static_assert(sizeof(IndexHeader) == 256);

/// A place in the blob where decoding, or checking, can start, and the hash of the span from here to the next
/// one.
struct CheckpointRecord {
  std::uint64_t stream_offset = 0;
  std::uint64_t blob_bit_offset = 0;
  std::uint64_t span_hash = 0;            // XXH3-64 of the span's uncompressed bytes
  std::uint32_t window_offset = 0;        // into the window area
  std::uint16_t window_packed_bytes = 0;  // 0: what follows refers to nothing before it
  std::uint16_t flags = 0;
};
static_assert(sizeof(CheckpointRecord) == 32);
/// The bit offset is where a gzip member's header begins, not a deflate block.
inline constexpr std::uint16_t kCheckpointMemberStart = 1;
/// The bit offset is where a zstd frame begins.
inline constexpr std::uint16_t kCheckpointZstdFrame = 2;
inline constexpr std::uint16_t kCheckpointKnownFlags = kCheckpointMemberStart | kCheckpointZstdFrame;

struct EntryRecord {
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_sec = 0;
  std::uint32_t mtime_nsec = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t rdev_major = 0;
  std::uint32_t rdev_minor = 0;
  std::uint32_t path_offset = 0;  // into the strings
  std::uint32_t link_offset = 0;
  std::uint32_t first_extent = 0;
  std::uint32_t extent_count = 0;
  std::uint32_t first_xattr = 0;
  std::uint32_t xattr_count = 0;
  std::uint16_t path_length = 0;
  std::uint16_t link_length = 0;
  std::uint16_t mode = 0;
  std::uint8_t type = 0;  // EntryType
  std::uint8_t reserved = 0;
  std::uint32_t reserved2 = 0;
};
static_assert(sizeof(EntryRecord) == 72);

struct EntryXattrRecord {
  std::uint32_t name_offset = 0;
  std::uint32_t value_offset = 0;
  std::uint32_t name_length = 0;
  std::uint32_t value_length = 0;
};
static_assert(sizeof(EntryXattrRecord) == 16);

static_assert(sizeof(Extent) == 24, "extents are stored as entry.h gives them");

}  // namespace layerboot::layer
