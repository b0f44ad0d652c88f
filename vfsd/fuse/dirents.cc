#include "vfsd/fuse/dirents.h"

#include <cstring>

#include "oci-mount/base/path_rules.h"
#include "vfsd/fuse/privileges.h"

namespace layerboot::vfsd::fuse {

DirentPacker::DirentPacker(std::vector<std::byte>& buffer, std::size_t limit_bytes, bool plus,
                           std::uint64_t valid_seconds)
    : buffer_(buffer), limit_bytes_(limit_bytes), plus_(plus), valid_seconds_(valid_seconds) {
  buffer_.clear();
}

bool DirentPacker::add(const vfs::Dirent& dirent, const vfs::Entry& entry) {
  const std::size_t fixed_bytes = plus_ ? sizeof(fuse_direntplus) : sizeof(fuse_dirent);
  const std::size_t size_bytes = FUSE_DIRENT_ALIGN(fixed_bytes + dirent.name.size());
  if (dirent.name.size() > kMaxNameBytes || size_bytes > limit_bytes_ - buffer_.size()) {
    refused_ = true;
    return false;
  }
  fuse_dirent wire{};
  wire.ino = dirent.ino;
  wire.off = dirent.next_cookie;
  wire.namelen = static_cast<std::uint32_t>(dirent.name.size());
  wire.type = dirent.type;

  const std::size_t start = buffer_.size();
  buffer_.resize(start + size_bytes);  // the padding becomes zero here
  std::byte* next = buffer_.data() + start;
  if (plus_) {
    // Id 0 tells the client that it got no node with this entry ("." and "..").
    const fuse_entry_out node = entry.id == 0 ? fuse_entry_out{} : to_wire(entry, valid_seconds_);
    std::memcpy(next, &node, sizeof(node));
    next += sizeof(node);
  }
  std::memcpy(next, &wire, sizeof(wire));
  std::memcpy(next + sizeof(wire), dirent.name.data(), dirent.name.size());
  return true;
}

fuse_attr to_wire(const vfs::Attr& attr) {
  fuse_attr wire{};
  wire.ino = attr.ino;
  wire.size = attr.size_bytes;
  wire.blocks = attr.blocks;
  wire.atime = static_cast<std::uint64_t>(attr.atime.sec);
  wire.mtime = static_cast<std::uint64_t>(attr.mtime.sec);
  wire.ctime = static_cast<std::uint64_t>(attr.ctime.sec);
  wire.atimensec = attr.atime.nsec;
  wire.mtimensec = attr.mtime.nsec;
  wire.ctimensec = attr.ctime.nsec;
  wire.mode = attr.mode;
  wire.nlink = attr.nlink;
  wire.uid = attr.uid;
  wire.gid = attr.gid;
  wire.rdev = attr.rdev;
  wire.blksize = 4096;
  if (attr.is_mounted) wire.flags = FUSE_ATTR_SUBMOUNT;
  return wire;
}

fuse_entry_out to_wire(const vfs::Entry& entry, std::uint64_t valid_seconds) {
  fuse_entry_out wire{};
  wire.nodeid = entry.id;  // 0: a negative entry, kept by the client as long as any other
  wire.entry_valid = valid_seconds;
  wire.attr_valid = attr_valid_seconds(entry.attr, valid_seconds);
  if (entry.id != 0) wire.attr = to_wire(entry.attr);
  return wire;
}

}  // namespace layerboot::vfsd::fuse
