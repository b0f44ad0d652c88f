// The FUSE protocol as it lies in guest memory: <linux/fuse.h> of the host, and what newer guests add to it.
//
// Follows include/uapi/linux/fuse.h of Linux 6.12 (protocol 7.41).
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

namespace layerboot::vfsd::fuse {

// ---- what the host's header may lack ------------------------------------------------------------
inline constexpr std::uint32_t kOpStatx = 52;                      // 7.39
inline constexpr std::uint32_t kOpCopyFileRange64 = 53;            // 7.45
inline constexpr std::uint64_t kInitCreateSuppGroup = 1ULL << 34;  // 7.38, as the next two
inline constexpr std::uint32_t kExtGroups = 32;
/// Then that many group ids.
struct SuppGroups {
  std::uint32_t count;
};
inline constexpr std::uint64_t kInitDirectIoAllowMmap = 1ULL << 36;  // 7.39
inline constexpr std::uint64_t kInitAllowIdmap = 1ULL << 40;         // 7.40
/// The ids of a caller that the client does not tell: with ALLOW_IDMAP, where no object is made.
inline constexpr std::uint32_t kUntoldId = ~0U;

// ---- what this server speaks --------------------------------------------------------------------
inline constexpr std::uint32_t kMajor = 7;
inline constexpr std::uint32_t kMinor = 41;
/// virtiofs came with 7.31; every structure has had its present size since.
inline constexpr std::uint32_t kOldestMinor = 31;

/// The largest READ and WRITE: FUSE_MAX_MAX_PAGES of the guests, in bytes.
inline constexpr std::uint32_t kMaxWriteBytes = 1U << 20;
inline constexpr std::uint16_t kMaxPages = 256;
inline constexpr std::uint16_t kMaxBackground = 65535;
inline constexpr std::uint16_t kCongestionThreshold = 49151;

/// What precedes the data of the longest request that is copied whole (SETXATTR: its header, a name, and
/// XATTR_SIZE_MAX of value). A longer body is malformed.
inline constexpr std::size_t kMaxBodyBytes = 65536 + 1024;

/// Entries and attributes never go stale: the lower is immutable and the upper has this one guest.
inline constexpr std::uint64_t kForeverSeconds = 1ULL << 32;
/// But those of a directory that others change do.
inline constexpr std::uint64_t kSharedSeconds = 1;

static_assert(FUSE_KERNEL_VERSION == 7);
static_assert(FUSE_KERNEL_MINOR_VERSION >= 38, "needs the kernel headers of Debian 12 or later");
static_assert(FUSE_TMPFILE == 51);
static_assert(sizeof(fuse_in_header) == 40);
static_assert(sizeof(fuse_out_header) == 16);
static_assert(sizeof(fuse_attr) == 88);
static_assert(sizeof(fuse_entry_out) == 128);
static_assert(sizeof(fuse_attr_out) == 104);
static_assert(sizeof(fuse_init_in) == 64);
static_assert(sizeof(fuse_init_out) == 64);
static_assert(sizeof(fuse_setattr_in) == 88);
static_assert(sizeof(fuse_write_in) == 40);
static_assert(sizeof(fuse_dirent) == 24);
static_assert(sizeof(fuse_direntplus) == 152);
static_assert(FUSE_COMPAT_SETXATTR_IN_SIZE == 8);

}  // namespace layerboot::vfsd::fuse
