#include "oci-mount/overlay/host_abilities.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <array>
#include <cstdio>
#include <utility>

#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::overlay {

namespace {

constexpr const char* kFile = "trial-file";
constexpr const char* kOther = "trial-other";
constexpr const char* kMoved = "trial-moved";

// Not in <linux/magic.h> of every version.
constexpr long kXfs = 0x58465342;
constexpr long kCifs = 0xff534d42;
constexpr long kSmb2 = 0xfe534d42;
constexpr long kExfat = 0x2011bab0;

constexpr std::array<std::pair<long, const char*>, 13> kFileSystems{{{EXT4_SUPER_MAGIC, "ext4"},
                                                                     {kXfs, "XFS"},
                                                                     {BTRFS_SUPER_MAGIC, "btrfs"},
                                                                     {TMPFS_MAGIC, "tmpfs"},
                                                                     {NFS_SUPER_MAGIC, "NFS"},
                                                                     {FUSE_SUPER_MAGIC, "FUSE"},
                                                                     {V9FS_MAGIC, "9p"},
                                                                     {kCifs, "CIFS"},
                                                                     {kSmb2, "SMB"},
                                                                     {OVERLAYFS_SUPER_MAGIC, "overlayfs"},
                                                                     {MSDOS_SUPER_MAGIC, "FAT"},
                                                                     {kExfat, "exFAT"},
                                                                     {RAMFS_MAGIC, "ramfs"}}};

/// Whether the host says no for good: not that it is full, or ill.
bool is_refused(const Result<void>& tried) {
  if (tried) return false;
  switch (tried.error().code) {
    case EOPNOTSUPP:
    case EINVAL:
    case ENOSYS:
    case EPERM:
    case EACCES:
    case ENOTTY:
    case EMLINK:
    case EIO:  // NFS, of a device node
      return true;
    default:
      return false;
  }
}

Result<void> make_whiteout(Place place) {
  if (::mknodat(place.dir_fd, place.name, S_IFCHR, makedev(0, 0)) != 0) return fail(errno);
  return {};
}

Result<void> name_a_nameless_file(Place place) {
  LB_ASSIGN(const UniqueFd file, create_nameless_in(place.dir_fd, 0600));
  return link_nameless(file.get(), place);
}

void remove_trials(int dir_fd) {
  for (const char* name : {kFile, kOther, kMoved}) static_cast<void>(unlink_at({dir_fd, name}));
}

}  // namespace

HostAbilities try_host(int dir_fd) {
  HostAbilities able;
  const Place file{dir_fd, kFile};
  const Place other{dir_fd, kOther};
  const Place moved{dir_fd, kMoved};
  const auto need = [&](const Result<void>& tried, std::string_view what) {
    if (is_refused(tried)) able.missing.push_back(what);
    return tried.has_value();
  };
  remove_trials(dir_fd);
  const auto made = create_regular_at(file, 0600);
  if (!made) return able;
  const Place self{made->get(), ""};
  able.trusted_xattrs = !is_refused(set_xattr_at(self, "trusted.overlay.layerboot.trial", "y", 0));
  able.user_xattrs = !is_refused(set_xattr_at(self, "user.overlay.layerboot.trial", "y", 0));
  if (!able.trusted_xattrs && !able.user_xattrs) {
    able.missing.emplace_back("extended attributes (trusted.* or user.*)");
  }
  if (need(link_at(file, other), "hard links")) static_cast<void>(unlink_at(other));
  able.nameless_files = name_a_nameless_file(moved).has_value();
  static_cast<void>(unlink_at(moved));
  if (need(make_whiteout(other), "character devices 0:0 (overlayfs's whiteouts)")) {
    need(rename_at(file, other, RENAME_EXCHANGE), "RENAME_EXCHANGE");
    need(rename_at(file, moved, RENAME_NOREPLACE), "RENAME_NOREPLACE");
    need(rename_at(other, moved, RENAME_WHITEOUT), "RENAME_WHITEOUT");
  }
  remove_trials(dir_fd);
  return able;
}

std::string file_system_name(int fd) {
  struct statfs found{};
  if (::fstatfs(fd, &found) != 0) return "unknown";
  for (const auto& [type, name] : kFileSystems) {
    if (type == static_cast<long>(found.f_type)) return name;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "type 0x%lx", static_cast<unsigned long>(found.f_type));
  return text.data();
}

std::string list_missing(const std::vector<std::string_view>& missing) {
  std::string text;
  for (std::size_t i = 0; i < missing.size(); ++i) {
    if (i > 0) text += i + 1 == missing.size() ? " and " : ", ";
    text += "no ";
    text += missing[i];
  }
  return text;
}

}  // namespace layerboot::overlay
