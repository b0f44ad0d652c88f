#include "tests/oci-mount/vfs/differential_inventor.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "oci-mount/base/device_number.h"
#include "tests/support/acl_text.h"

namespace layerboot::test {

namespace {

constexpr std::size_t kMostPaths = 160;
constexpr std::uint64_t kMostFileBytes = 48 * 1024;

}  // namespace

std::optional<Operation> Inventor::invent() {
  if (until_refresh_-- <= 0) {
    refresh();
    until_refresh_ = 8;
  }
  Operation op;
  op.kind = static_cast<Kind>(pick(static_cast<std::uint64_t>(Kind::kHold) + 1));
  // A tree that grows too large makes room.
  const bool makes = op.kind >= Kind::kCreate && op.kind <= Kind::kLink;
  if (makes && paths_.size() > kMostPaths) op.kind = one_in(2) ? Kind::kUnlink : Kind::kRmdir;
  op.actor = actor();
  if (!fill(op)) return std::nullopt;
  // Of a directory that is gone, only what is to be known and changed of itself.
  const bool is_of_attributes = op.kind >= Kind::kChmod && op.kind <= Kind::kRemovexattr;
  if (op.object.slot != Spot::kNone && !is_of_attributes && is_removed_directory(op.object)) {
    return std::nullopt;
  }
  // Following symlinks is the client's.
  if (host_.goes_through_symlink(op.object.path) || host_.goes_through_symlink(op.other.path)) {
    return std::nullopt;
  }
  return op;
}

bool Inventor::fill(Operation& op) {
  switch (op.kind) {
    case Kind::kLookup:
      op.object = object();
      return true;
    case Kind::kRead:
    case Kind::kWrite:
    case Kind::kTruncate:
    case Kind::kFallocate:
    case Kind::kSeek:
    case Kind::kCopyRange:
      return fill_data(op);
    case Kind::kChmod:
    case Kind::kChown:
    case Kind::kUtimes:
      return fill_attribute(op);
    case Kind::kSetxattr:
    case Kind::kRemovexattr:
      return fill_xattr(op);
    case Kind::kReaddir: {
      op.object.path = existing();
      const auto st = host_.stat_of(op.object);
      return st && S_ISDIR(st->st_mode);
    }
    case Kind::kHold:
      if (client_ == OurSide::Client::kCold) return false;
      op.object.path = existing();
      op.other.slot = static_cast<int>(pick(Side::kSlots));
      ++held_;
      return !op.object.path.empty();
    default:
      return fill_name(op);
  }
}

bool Inventor::fill_name(Operation& op) {
  op.mode = mode();
  switch (op.kind) {
    case Kind::kMknod:
      op.object.path = place();
      op.mode |= any_of<5, std::uint32_t>({S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK});
      if (S_ISCHR(op.mode) || S_ISBLK(op.mode)) op.rdev = one_in(2) ? 0 : encode_dev(makedev(5, 700));
      return true;
    case Kind::kSymlink:
      op.object.path = place();
      op.data = one_in(20) ? std::string(4095, 't') : bytes(120);
      return true;
    case Kind::kLink:
      op.object = object();
      op.other.path = place();
      return true;
    case Kind::kUnlink:
    case Kind::kRmdir:
      op.object.path = removable();
      return !op.object.path.empty();
    case Kind::kRename:
      op.object.path = removable();
      op.other.path = one_in(2) ? place() : existing();
      op.flags = any_of<9, std::uint32_t>({0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE,
                                           RENAME_WHITEOUT, RENAME_WHITEOUT | RENAME_NOREPLACE});
      if (one_in(50)) op.flags = RENAME_EXCHANGE | RENAME_NOREPLACE;
      return !op.object.path.empty() && !op.other.path.empty();
    case Kind::kTmpfileLink:
      op.object.path = op.other.path = place();
      op.data = bytes(3000);
      return true;
    default:
      op.object.path = place();
      if (op.kind == Kind::kCreate && one_in(3)) {
        const auto st = host_.stat_of(op.object);
        op.is_exclusive = st && !S_ISREG(st->st_mode);  // of others the client opens what is there
      }
      if (op.kind == Kind::kCreate && !one_in(4)) op.data = bytes(one_in(5) ? 20'000 : 100);
      return true;
  }
}

bool Inventor::fill_data(Operation& op) {
  op.object = object_of_type(S_IFREG);
  if (!is_regular(op.object)) return false;
  op.offset = pick(kMostFileBytes / 2);
  op.length = pick(kMostFileBytes / 2) + 1;
  switch (op.kind) {
    case Kind::kWrite:
      op.data = bytes(one_in(4) ? 20'000 : 300);
      if (one_in(3)) op.offset = pick(8);
      return true;
    case Kind::kTruncate:
      if (one_in(40)) op.length = std::uint64_t{1} << 45;  // EFBIG
      if (one_in(8)) op.length = 0;
      return true;
    case Kind::kFallocate: {
      op.flags = any_of<5, std::uint32_t>({0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                           FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE});
      if (!op.actor.is_root() || !one_in(3)) return true;
      op.flags = any_of<4, std::uint32_t>({FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE,
                                           FALLOC_FL_PUNCH_HOLE, FALLOC_FL_UNSHARE_RANGE << 4});
      if (one_in(4)) return true;
      op.offset = op.offset / 4096 * 4096;
      op.length = 4096;
      const auto st = host_.stat_of(op.object);
      return op.flags != FALLOC_FL_INSERT_RANGE || static_cast<std::uint64_t>(st->st_size) < kMostFileBytes;
    }
    case Kind::kSeek:
      op.flags = one_in(2) ? SEEK_DATA : SEEK_HOLE;
      return true;
    case Kind::kCopyRange: {
      op.other = object_of_type(S_IFREG);
      op.to_offset = pick(kMostFileBytes / 2);
      const auto from = host_.stat_of(op.object);
      const auto to = host_.stat_of(op.other);
      return to && S_ISREG(to->st_mode) && from->st_ino != to->st_ino;
    }
    default:
      return true;
  }
}

bool Inventor::fill_attribute(Operation& op) {
  op.object = object();
  const auto st = host_.stat_of(op.object);
  switch (op.kind) {
    case Kind::kChmod:
      op.mode = mode();
      return true;
    case Kind::kUtimes:
      if (!one_in(3)) op.atime = time();
      if (!op.atime || !one_in(3)) op.mtime = time();
      return true;
    default:
      if (one_in(2)) op.uid = any_of<3, std::uint32_t>({0, 1000, 1001});
      if (one_in(2)) op.gid = any_of<3, std::uint32_t>({0, 1000, 1001});
      // Of S_ISGID that gives no right, FUSE's flag does not speak: a chown leaves it.
      if (st && (st->st_mode & (S_ISGID | S_IXGRP)) == S_ISGID) op.actor = {};
      return true;
  }
}

bool Inventor::fill_xattr(Operation& op) {
  static const std::string kCapability("\1\0\0\2\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0", 20);
  static const std::string kNames[] = {"user.one",
                                       "user.two",
                                       "trusted.two",
                                       "trusted.overlay.opaque",
                                       "trusted.overlay.metacopy",
                                       "security.capability",
                                       "system.posix_acl_access",
                                       "system.posix_acl_default"};
  op.object = object();
  op.name = kNames[pick(std::size(kNames))];
  if (op.kind == Kind::kRemovexattr) return true;
  if (op.name == "security.capability") {
    op.data = kCapability;
  } else if (op.name.starts_with("system.")) {
    const auto bits = [this] { return static_cast<std::uint16_t>(pick(8)); };
    op.data = one_in(3) ? acl_text({{0x01, bits(), ~0U}, {0x04, bits(), ~0U}, {0x20, bits(), ~0U}})
                        : acl_with_user(1000, bits(), bits());
  } else {
    op.data = one_in(8) ? "" : bytes(60);
    op.flags = any_of<4, std::uint32_t>({0, 0, XATTR_CREATE, XATTR_REPLACE});
  }
  return true;
}

}  // namespace layerboot::test
