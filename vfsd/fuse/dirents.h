// Packing of directory entries as READDIR and READDIRPLUS carry them.
#pragma once

#include <cstddef>
#include <vector>

#include "oci-mount/vfs/types.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

/// Appends entries to a buffer of the reply's size until one does not fit. Padding is zeroed.
class DirentPacker {
 public:
  /// `buffer` is cleared, and grows to at most `limit_bytes`. `valid_seconds`: for how long the client may
  /// believe an entry.
  DirentPacker(std::vector<std::byte>& buffer, std::size_t limit_bytes, bool plus,
               std::uint64_t valid_seconds = kForeverSeconds);

  /// False, and nothing appended, if the entry does not fit or its name is longer than a name may be.
  [[nodiscard]] bool add(const vfs::Dirent& dirent, const vfs::Entry& entry);

  /// An entry was refused for want of room.
  [[nodiscard]] bool refused() const { return refused_; }

 private:
  std::vector<std::byte>& buffer_;
  std::size_t limit_bytes_;
  bool plus_;
  std::uint64_t valid_seconds_;
  bool refused_ = false;
};

/// The wire form of attributes and of a node given to the client.
[[nodiscard]] fuse_attr to_wire(const vfs::Attr& attr);
[[nodiscard]] fuse_entry_out to_wire(const vfs::Entry& entry, std::uint64_t valid_seconds);

}  // namespace layerboot::vfsd::fuse
