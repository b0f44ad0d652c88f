// What a program and the child that reads a guest's disk for it tell each other, over a stream. Both ends are
// the same program file. The program asks, and reads all of an answer before it asks anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "oci-mount/base/walled_child.h"

namespace layerboot::mount {

/// What the child finds open.
enum DiskChildFd : int {
  kChildDiskFd = kFirstChildFd,  // for reading
  kDiskChildSocketFd,
};

struct DiskRequest {
  enum What : std::uint32_t {
    kOpen = 1,  // the first; behind it the disk's name for errors, of `size` bytes
    kInode,     // an ext2_inode_large
    kNames,     // of a directory: for each a DiskName and the name
    kXattrs,    // for each a DiskXattr, the name, and the value
    kTarget,    // of a symlink
    kRead,      // up to `size` bytes from `offset` on; fewer only at the end
  };
  std::uint32_t what = 0;
  std::uint32_t inode = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// What follows is the answer, or the error's text.
struct DiskReply {
  std::uint32_t error = 0;
  std::uint32_t reserved = 0;
  std::uint64_t size = 0;
};

struct DiskName {
  std::uint32_t inode = 0;
  std::uint16_t name_bytes = 0;
  std::uint16_t type = 0;  // EXT2_FT_*
};

struct DiskXattr {
  std::uint32_t name_bytes = 0;
  std::uint32_t value_bytes = 0;
};

inline constexpr std::uint64_t kMaxDiskReadBytes = 1U << 20U;  // of one request
inline constexpr std::uint64_t kMaxDiskReplyBytes = 256ULL
                                                    << 20U;  // of a directory's names: a million and more
inline constexpr std::uint64_t kMaxDiskNameBytes = 4096;     // of the disk's own

/// What reading one disk may take: address space (the program's own counted), processor time.
inline constexpr std::uint64_t kMaxDiskMemoryBytes = 2ULL << 30U;
inline constexpr std::uint64_t kMaxDiskCpuSeconds = 14400;
/// Between two bytes of a reply: who sleeps uses no processor time.
inline constexpr unsigned kMaxDiskSilenceSeconds = 300;

/// Whoever of the two finds it.
inline std::unexpected<Error> damaged_disk(std::string_view what) {
  return fail(EUCLEAN, "the disk's file system is damaged (", what, "): 'e2fsck -f' repairs it");
}

/// What `ps` calls the child.
inline constexpr const char* kDiskChildName = "layerboot-disk";

}  // namespace layerboot::mount
