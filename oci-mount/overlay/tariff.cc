#include "oci-mount/overlay/tariff.h"

#include <linux/ioctl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include <algorithm>
#include <bit>

#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/overlay/recorded_stat.h"

namespace layerboot::overlay {

namespace {

// The kernel has it in fs/xfs/libxfs/xfs_format.h alone.
constexpr long kXfsMagic = 0x58465342;

/// btrfs: a byte of an item in a tree takes two copies (the profile DUP), in leaves of which two fifths are
/// filled at least.
constexpr std::uint64_t kTreeFactor = 5;
constexpr std::uint64_t kItemHeaderBytes = 25;
constexpr std::uint64_t kInodeItemBytes = 160 + kItemHeaderBytes;
/// Each name is three items with the name in it: entry, index, and reference back.
constexpr std::uint64_t kNameItemsBytes =
    (30 + kItemHeaderBytes) + (30 + kItemHeaderBytes) + (10 + kItemHeaderBytes);
constexpr std::uint64_t kNameCopies = 3;
/// st_size of a directory counts each byte of a name twice.
constexpr std::uint64_t kDirectorySizePerNameByte = 2;
/// Files up to this size, and targets of symlinks, lie in the tree (mount option max_inline).
constexpr std::uint64_t kMaxInlineBytes = 2048;
/// Extents and checksums: worst where each block is an extent of its own.
constexpr std::uint64_t kDataPerTreeByte = 8;
constexpr std::uint64_t kXattrItemBytes = 30 + kItemHeaderBytes;
/// A large item has a leaf for itself and splits another, each twice; and a key in the nodes above.
constexpr std::uint64_t kLargeItemBytes = 4 * 16384 + 8192;

/// tmpfs: what the kernel counts for an inode, and for each further link (BOGO_INODE_SIZE of mm/shmem.c).
constexpr std::uint64_t kTmpfsInodeBytes = 1024;
/// tmpfs: an attribute's head, and the smallest piece of memory for a name.
constexpr std::uint64_t kTmpfsXattrBytes = 64;
constexpr std::uint64_t kTmpfsNameBytes = 16;

/// Others: an inode, a name, the head of an attribute.
constexpr std::uint64_t kOtherBytes = 1024;

std::uint64_t names_of(const struct stat& st) {
  return S_ISDIR(st.st_mode) ? 1 : std::max<std::uint64_t>(st.st_nlink, 1);
}

std::uint64_t btrfs_object(const struct stat& st) {
  const auto size = static_cast<std::uint64_t>(st.st_size);
  std::uint64_t in_tree = kInodeItemBytes + names_of(st) * kNameItemsBytes;
  if (S_ISDIR(st.st_mode)) in_tree += size / kDirectorySizePerNameByte * kNameCopies;
  const bool may_be_inline = S_ISLNK(st.st_mode) || (S_ISREG(st.st_mode) && size <= kMaxInlineBytes);
  const std::uint64_t as_blocks = allocated_bytes(st) + allocated_bytes(st) / kDataPerTreeByte;
  return std::max(as_blocks, may_be_inline ? size * kTreeFactor : 0) + in_tree * kTreeFactor;
}

}  // namespace

HostKind host_kind(long f_type) {
  switch (f_type) {
    case EXT4_SUPER_MAGIC:
      return HostKind::kExt4;
    case kXfsMagic:
      return HostKind::kXfs;
    case BTRFS_SUPER_MAGIC:
      return HostKind::kBtrfs;
    case TMPFS_MAGIC:
      return HostKind::kTmpfs;
    default:
      return HostKind::kOther;
  }
}

HostKind host_kind_of(int fd) {
  struct statfs host{};
  return ::fstatfs(fd, &host) == 0 ? host_kind(host.f_type) : HostKind::kOther;
}

namespace {

/// ioctl_xfs_fsgeometry(2); the first version of it, which every kernel has.
struct XfsGeometry {
  std::uint32_t block_bytes;
  std::uint32_t unused_before[4];
  std::uint32_t inode_bytes;
  std::uint32_t unused_after[22];
};
static_assert(sizeof(XfsGeometry) == 112);
constexpr unsigned long kXfsGetGeometry = _IOR('X', 100, XfsGeometry);

Tariff::Sizes sizes_of(int directory_fd, HostKind kind, std::uint64_t block_bytes) {
  Tariff::Sizes sizes{.block_bytes = block_bytes};
  if (kind == HostKind::kXfs) {
    XfsGeometry geometry{};
    if (::ioctl(directory_fd, kXfsGetGeometry, &geometry) == 0 && geometry.inode_bytes > sizes.inode_bytes)
      sizes.inode_bytes = geometry.inode_bytes;
    return sizes;
  }
  struct stat st{};
  const bool is_of_a_block =
      ::fstat(directory_fd, &st) == 0 && static_cast<std::uint64_t>(st.st_size) == block_bytes;
  if (is_of_a_block) sizes.unit_bytes = std::max(block_bytes, allocated_bytes(st));
  return sizes;
}

}  // namespace

Tariff tariff_of(int directory_fd) {
  struct statfs host{};
  if (::fstatfs(directory_fd, &host) != 0) return Tariff(HostKind::kOther);
  const HostKind kind = host_kind(host.f_type);
  // Others say there what is good to read and write at once.
  const bool tells = kind == HostKind::kExt4 || kind == HostKind::kXfs;
  if (!tells || host.f_bsize <= 0) return Tariff(kind);
  return {kind, sizes_of(directory_fd, kind, static_cast<std::uint64_t>(host.f_bsize))};
}

std::uint64_t Tariff::object(const struct stat& st) const {
  switch (kind_) {
    case HostKind::kExt4:
      return allocated_bytes(st);
    case HostKind::kXfs:
      // An inode's part of a chunk of 64, which stays until its last inode is gone. The budget of inodes
      // bounds that: what is left over is never more than this for each inode of it.
      return allocated_bytes(st) + sizes_.inode_bytes;
    case HostKind::kBtrfs:
      return btrfs_object(st);
    case HostKind::kTmpfs:
      return allocated_bytes(st) + names_of(st) * kTmpfsInodeBytes;
    case HostKind::kOther:
      break;
  }
  return allocated_bytes(st) + names_of(st) * kOtherBytes;
}

std::uint64_t Tariff::root(const struct stat& st) const {
  // There is always a root, with attributes that say what it is.
  constexpr std::uint64_t kFreeBytes = 2 * kHostBlockBytes;
  const std::uint64_t bytes = object(st);
  return bytes > kFreeBytes ? bytes - kFreeBytes : 0;
}

std::uint64_t Tariff::attribute(std::string_view name, std::size_t value_bytes) const {
  switch (kind_) {
    case HostKind::kExt4:
    case HostKind::kXfs:
      return 0;
    case HostKind::kBtrfs:
      return std::min((kXattrItemBytes + name.size() + value_bytes) * kTreeFactor, kLargeItemBytes);
    case HostKind::kTmpfs:
      // Memory comes in powers of two.
      return std::bit_ceil(kTmpfsXattrBytes + value_bytes) + std::bit_ceil(kTmpfsNameBytes + name.size());
    case HostKind::kOther:
      break;
  }
  return kOtherBytes + name.size() + value_bytes;
}

std::uint64_t Tariff::whiteout() const {
  switch (kind_) {
    case HostKind::kExt4:
    case HostKind::kXfs:
      return 0;  // the directory's blocks tell
    case HostKind::kBtrfs:
      return kNameItemsBytes * kTreeFactor;
    case HostKind::kTmpfs:
      return kTmpfsInodeBytes;
    case HostKind::kOther:
      break;
  }
  return kOtherBytes;
}

std::uint64_t Tariff::name_in_directory(std::size_t name_bytes) const {
  return kind_ == HostKind::kBtrfs ? name_bytes * kNameCopies * kTreeFactor : 0;
}

/// With a name, at most.
std::uint64_t Tariff::directory_growth() const { return std::max(kHostBlockBytes, sizes_.unit_bytes); }

std::uint64_t Tariff::for_name(std::size_t name_bytes) const {
  struct stat none{};
  const std::uint64_t first = object(none);
  none.st_nlink = 2;
  return directory_growth() + object(none) - first + name_in_directory(name_bytes);
}

std::uint64_t Tariff::for_object(std::size_t name_bytes, std::size_t target_bytes) const {
  struct stat made{};
  made.st_mode = S_IFLNK;
  made.st_size = static_cast<off_t>(target_bytes);
  return object(made) + directory_growth() + name_in_directory(name_bytes);
}

std::uint64_t Tariff::for_attribute(std::string_view name, std::size_t value_bytes) const {
  if (counts_attributes()) return attribute(name, value_bytes);
  // Outside the inode they lie in blocks, of XFS with a header each and blocks that find them.
  return value_bytes + kHostBlockBytes * (value_bytes > kHostBlockBytes ? 3 : 1);
}

std::uint64_t Tariff::for_data(std::uint64_t allocated_bytes) const {
  return kind_ == HostKind::kBtrfs ? allocated_bytes + allocated_bytes / kDataPerTreeByte : allocated_bytes;
}

namespace {

/// Extents that lie in the inode itself: four of ext4, and of XFS no less than three beside any attributes.
constexpr std::uint64_t kExtentsInInode = 3;
/// XFS, without its header: 250 in a block of 4 KiB; ext4 has 340. A block may be split and be half full
/// then.
constexpr std::uint64_t extents_in(std::uint64_t block_bytes) {
  constexpr std::uint64_t kHeaderBytes = 96;
  constexpr std::uint64_t kExtentBytes = 16;
  return (std::max<std::uint64_t>(block_bytes, 512) - kHeaderBytes) / kExtentBytes;
}

}  // namespace

bool Tariff::changes_late(std::uint64_t allocated_bytes) const {
  switch (kind_) {
    case HostKind::kExt4:
    case HostKind::kXfs:
      return allocated_bytes > kExtentsInInode * sizes_.unit_bytes;
    case HostKind::kTmpfs:
      return false;
    case HostKind::kBtrfs:
    case HostKind::kOther:
      break;
  }
  return true;
}

std::uint64_t Tariff::late_growth(std::uint64_t allocated_bytes) const {
  const bool is_in_charge = kind_ == HostKind::kBtrfs;  // the worst that there can be of extents
  if (is_in_charge || !changes_late(allocated_bytes)) return 0;
  const std::uint64_t extents = allocated_bytes / sizes_.unit_bytes;
  return sizes_.unit_bytes * (1 + 2 * extents / extents_in(sizes_.block_bytes));
}

std::uint64_t charge_of_record(const Tariff& tariff) {
  constexpr std::size_t kMostRecordBytes = 64;
  return tariff.attribute(kRecordedStatXattr, kMostRecordBytes);
}

Result<std::uint64_t> charge_of_attributes(const Tariff& tariff, Place place) {
  if (!tariff.counts_attributes()) return 0;
  LB_ASSIGN(const auto names, list_xattrs_at(place));
  std::uint64_t bytes = 0;
  for (const auto& name : names) {
    if (name == kRecordedStatXattr) {
      bytes += charge_of_record(tariff);
      continue;
    }
    LB_ASSIGN(const auto value, get_xattr_at(place, name));
    if (value) bytes += tariff.attribute(name, value->size());
  }
  return bytes;
}

}  // namespace layerboot::overlay
