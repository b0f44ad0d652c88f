#include "vfsd/daemon/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <system_error>
#include <utility>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/kernel_file_systems.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/mount_list.h"
#include "oci-mount/base/walls.h"
#include "oci-mount/vfs/share_fs.h"
#include "vfsd/daemon/capabilities.h"
#include "vfsd/daemon/descriptors.h"

namespace layerboot::vfsd {

namespace {

/// Of what the guest writes to, or shares with others.
constexpr std::uint64_t kHeld = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
constexpr std::string_view kAdvice = "; --sandbox none serves without namespaces";
/// Any directory that is always there: the private root is mounted over it, and then takes the root's place.
constexpr const char* kAssemblyPlace = "/proc";

Result<void> write_proc(const char* path, std::string_view text) {
  LB_ASSIGN(const UniqueFd file, open_path(path, O_WRONLY | O_CLOEXEC));
  if (::write(file.get(), text.data(), text.size()) < 0) return errno_error(path);
  return {};
}

/// An ordinary user stays who it is, in a user namespace where it may mount.
Result<void> map_own_ids(uid_t uid, gid_t gid) {
  LB_TRY(write_proc("/proc/self/setgroups", "deny"));
  LB_TRY(write_proc("/proc/self/uid_map", str_cat(uid, ' ', uid, " 1")));
  return write_proc("/proc/self/gid_map", str_cat(gid, ' ', gid, " 1"));
}

/// `which`: AT_RECURSIVE for what is mounted below, too.
Result<void> change_mounts(int dir_fd, const char* path, mount_attr change, unsigned which = 0) {
  if (::mount_setattr(dir_fd, path, AT_EMPTY_PATH | which, &change, sizeof(change)) != 0) {
    return errno_error("attributes of mount ", path);
  }
  return {};
}
Result<void> set_mount_attributes(int dir_fd, const char* path, std::uint64_t attributes,
                                  unsigned which = 0) {
  mount_attr change{};
  change.attr_set = attributes;
  return change_mounts(dir_fd, path, change, which);
}
/// What the host mounts there later does not come here, as it would without any of the attributes.
Result<void> set_and_keep_apart(int dir_fd, std::uint64_t attributes, unsigned which = 0) {
  mount_attr change{};
  change.attr_set = attributes;
  change.propagation = MS_PRIVATE;
  return change_mounts(dir_fd, "", change, which);
}

/// A clone of a directory's mounts leaves those out that are unbindable, and would show what they cover.
Result<void> make_mounts_bindable() {
  LB_ASSIGN(const auto mounts, own_mounts());
  for (const MountPoint& mount : mounts) {
    if (mount.unbindable && ::mount(nullptr, mount.path.c_str(), nullptr, MS_PRIVATE, nullptr) != 0)
      return errno_error("unbindable mount ", mount.path);
  }
  return {};
}

/// The xattr calls have no *at form before Linux 6.13, and a nameless file gets its name by its descriptor's
/// path.
Result<void> make_private_root(int share) {
  constexpr std::uint64_t kInert = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  const UniqueFd descriptors(::open_tree(AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!descriptors) return errno_error("/proc/self/fd");
  LB_TRY(set_mount_attributes(descriptors.get(), "", kInert | MOUNT_ATTR_RDONLY));
  if (::mount("none", kAssemblyPlace, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=0755,size=64k,nr_inodes=12")) {
    return errno_error("private root");
  }
  if (::chdir(kAssemblyPlace) != 0 || ::mkdir("proc", 0755) != 0 || ::mkdir("proc/self", 0755) != 0 ||
      ::mkdir("proc/self/fd", 0755) != 0) {
    return errno_error("private root");
  }
  if (::move_mount(descriptors.get(), "", AT_FDCWD, "proc/self/fd", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return errno_error("/proc/self/fd in the private root");
  }
  if (share >= 0) {
    // Not left in the old root, which goes apart: what is mounted in it would no longer cover what lies
    // below.
    if (::mkdir("share", 0755) != 0 ||
        ::move_mount(share, "", AT_FDCWD, "share", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
      return errno_error("the shared directory in the private root");
    }
  }
  LB_TRY(set_mount_attributes(AT_FDCWD, ".", kInert | MOUNT_ATTR_RDONLY));
  // The old root ends up on top of the new one, at the same place, and is let go (pivot_root(2), NOTES).
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return errno_error("pivot_root");
  if (::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) return errno_error("leaving the old root");
  return {};
}

/// Files are made as the guest's users, which would else take the right away to reach them where only the
/// guest's own groups or ACLs let them.
void keep_rights_as_others() {
  const int bits = ::prctl(PR_GET_SECUREBITS);
  constexpr int kKeep = SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED;
  if (bits >= 0 && ::prctl(PR_SET_SECUREBITS, bits | kKeep) == 0) return;
  log_warn("no CAP_SETPCAP: what the guest's users make is subject to their rights on this host alone");
}

/// A clone of the mount that `directory` is on: only what is below it, inert and apart.
Result<UniqueFd> clone_directory(const std::filesystem::path& directory) {
  UniqueFd own(::open_tree(AT_FDCWD, directory.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!own) return errno_error("directory ", directory.native(), " as a mount of its own", kAdvice);
  auto set = set_and_keep_apart(own.get(), kHeld);
  if (!set) return while_doing(std::move(set).error(), "directory ", directory.native());
  return own;
}

/// A mount of a directory with nothing in it, which nothing can be made in.
Result<UniqueFd> empty_mount() {
  const UniqueFd context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!context) return errno_error("fsopen of tmpfs");
  for (const auto& [key, value] : {std::pair{"mode", "0555"}, {"size", "4k"}, {"nr_inodes", "1"}}) {
    if (::fsconfig(context.get(), FSCONFIG_SET_STRING, key, value, 0) != 0) return errno_error("tmpfs ", key);
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return errno_error("a tmpfs");
  UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, kHeld | MOUNT_ATTR_RDONLY));
  if (!mount) return errno_error("fsmount of a tmpfs");
  return mount;
}

/// Puts an empty directory, or file, over what `place` (O_PATH) is open on. Not by its path: that leads
/// through /proc, which may be covered by then.
Result<void> cover_with_nothing(int place) {
  struct stat st{};
  if (::fstat(place, &st) != 0) return errno_error("fstat");
  UniqueFd nothing;
  if (S_ISDIR(st.st_mode)) {
    LB_ASSIGN(nothing, empty_mount());
  } else {
    nothing = UniqueFd(::open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (!nothing) return errno_error("/dev/null");
  }
  if (::move_mount(nothing.get(), "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    return errno_error("an empty mount over it");
  return {};
}

/// What is mounted below a shared directory is shared with it, but for the kernel's own files (a chroot has
/// its /proc): by these a guest would write this process's memory and the host's switches. They are covered
/// while the directory's mounts are cloned, and no longer: /proc may be one of them, which we need.
class KernelFileSystemsCovered {
 public:
  KernelFileSystemsCovered() = default;
  KernelFileSystemsCovered(const KernelFileSystemsCovered&) = delete;
  KernelFileSystemsCovered& operator=(const KernelFileSystemsCovered&) = delete;
  ~KernelFileSystemsCovered() { [[maybe_unused]] const auto gone = uncover(); }

  Result<void> below(const std::filesystem::path& directory) {
    std::error_code error;
    std::string top = std::filesystem::canonical(directory, error).string();
    if (error) return fail(error.value(), directory.native());
    if (top != "/") top += '/';
    LB_ASSIGN(const auto mounts, own_mounts());
    for (const MountPoint& mount : mounts) {
      if (!mount.path.starts_with(top) || !is_kernel_file_system(mount.type)) continue;
      // Others may be mounted over it, or over what it lies in, which may just have been covered.
      const UniqueFd place(::open(mount.path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
      if (!place || !is_on_kernel_file_system(place.get())) continue;
      auto covered = cover_with_nothing(place.get());
      if (!covered)
        return fail(covered.error().code, "cannot leave ", mount.path, " (", mount.type,
                    ") out of what is shared: ", covered.error().describe(), kAdvice);
      covered_.push_back(mount.path);
    }
    return {};
  }
  Result<void> uncover() {
    for (; !covered_.empty(); covered_.pop_back()) {
      if (::umount2(covered_.back().c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) != 0)
        return errno_error("umount of what covered ", covered_.back());
    }
    return {};
  }

 private:
  std::vector<std::string> covered_;
};

Result<void> cover(const std::filesystem::path& directory, int mount) {
  if (::move_mount(mount, "", AT_FDCWD, directory.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0) return {};
  return errno_error("directory ", directory.native(), " as a mount of its own", kAdvice);
}

}  // namespace

Result<Sandbox> Sandbox::enter(SandboxMode mode, bool writable, bool in_place) {
  Sandbox sandbox;
  sandbox.writable_ = writable;
  sandbox.is_root_ = ::geteuid() == 0;
  sandbox.parent_ = ::getppid();
  ::prctl(PR_GET_PDEATHSIG, &sandbox.death_signal_);
  if (mode != SandboxMode::kNone) {
    if (auto entered = sandbox.enter_namespaces(); !entered) {
      const Error why = std::move(entered).error();
      if (mode == SandboxMode::kNamespace) return fail(why.code, why.describe(), kAdvice);
      log_warn(why.describe(),
               "; serving with seccomp and few rights alone (--sandbox none says so without a warning)");
    }
  }
  // A file that the guest creates in a set-group-id directory would else keep the bit for a group of ours.
  if (sandbox.is_root_ && ::setgroups(0, nullptr) != 0 && ::getgroups(0, nullptr) > 0) {
    return errno_error("cannot drop supplementary groups");
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_error("no_new_privs");
  if (sandbox.is_root_ && in_place && writable) keep_rights_as_others();
  const Rights opening = in_place ? Rights::kOpeningShare : Rights::kOpening;
  LB_TRY(keep_only(sandbox.is_root_ ? opening : Rights::kMountOnly));
  LB_TRY(end_with_parent(sandbox.death_signal_, sandbox.parent_));
  return sandbox;
}

Result<void> Sandbox::enter_namespaces() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  // No user namespace for root: trusted.* xattrs are the host's root's alone. No process namespace: it would
  // take a child, whose number nobody who started us knows; and seccomp lets no signal out.
  const int wanted = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (::unshare(is_root_ ? wanted : wanted | CLONE_NEWUSER) != 0) {
    return errno_error(
        "no namespaces on this host (in a container they need CAP_SYS_ADMIN, for an ordinary user "
        "unprivileged user namespaces)");
  }
  if (!is_root_) LB_TRY(map_own_ids(uid, gid));
  // Mounts of ours stay ours; what the host mounts and unmounts comes and goes here too.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    return errno_error("a mount namespace of its own");
  LB_TRY(make_mounts_bindable());
  has_namespaces_ = true;
  return {};
}

Result<void> Sandbox::hold_host(const std::filesystem::path& upper,
                                const std::vector<std::filesystem::path>& caches) {
  if (!has_namespaces_) return {};
  if (!upper.empty()) {
    LB_TRY(make_directories(upper, 0700));
    LB_ASSIGN(upper_, clone_directory(upper));
  }
  for (const auto& cache : caches) {
    LB_TRY(make_private_directory(cache));
    LB_ASSIGN(UniqueFd own, clone_directory(cache));
    caches_.push_back(std::move(own));
  }
  // The clones are taken before: they stay as they are.
  LB_TRY(shut_host_mounts());
  for (std::size_t i = 0; i < caches.size(); ++i) LB_TRY(cover(caches[i], caches_[i].get()));
  return upper.empty() ? Result<void>() : cover(upper, upper_.get());
}

Result<void> Sandbox::shut_host_mounts() {
  auto shut = set_mount_attributes(AT_FDCWD, "/", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, AT_RECURSIVE);
  if (!shut) return fail(shut.error().code, shut.error().describe(), kAdvice);
  return {};
}

Result<void> Sandbox::hold_layers() {
  if (!has_namespaces_) return {};
  struct statvfs upper{};
  const bool opens_upper = upper_ && ::fstatvfs(upper_.get(), &upper) == 0 && (upper.f_flag & ST_RDONLY) == 0;
  LB_TRY(shut_host_mounts());
  if (!opens_upper) return {};
  mount_attr writable{};
  writable.attr_clr = MOUNT_ATTR_RDONLY;
  return change_mounts(upper_.get(), "", writable);
}

Result<std::filesystem::path> Sandbox::hold_share(const std::filesystem::path& share) {
  LB_TRY(open_path(share, O_PATH | O_DIRECTORY));
  if (!has_namespaces_) return share;
  KernelFileSystemsCovered covered;
  LB_TRY(covered.below(share));
  share_ = UniqueFd(::open_tree(AT_FDCWD, share.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!share_) return errno_error("directory ", share.native(), " with its mounts", kAdvice);
  auto uncovered = covered.uncover();
  if (!uncovered) return fail(uncovered.error().code, uncovered.error().describe(), kAdvice);
  // Of one that is only read, what the host mounts later could be written to.
  auto set = writable_ ? set_mount_attributes(share_.get(), "", kHeld, AT_RECURSIVE)
                       : set_and_keep_apart(share_.get(), kHeld | MOUNT_ATTR_RDONLY, AT_RECURSIVE);
  if (!set) return while_doing(std::move(set).error(), "directory ", share.native());
  return descriptor_path(share_.get());
}

std::size_t Sandbox::share_descriptors() {
  constexpr rlim_t kOwn = 2 * kServingDescriptors;  // what serving takes, and what is open by then
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max <= kOwn) return kServingDescriptors / 4;
  return std::min<std::size_t>(limit.rlim_max - kOwn, vfs::ShareOptions::kDefaultDescriptors);
}

Result<void> Sandbox::close(Served served, std::size_t in_flight, bool recorded_upper) {
  const std::size_t of_requests = in_flight * kDescriptorsOfRequest;
  LB_TRY(limit_descriptors(kServingDescriptors,
                           of_requests + (served == Served::kShare ? share_descriptors() : 0)));
  for (const UniqueFd& cache : caches_) {
    if (auto shut = set_mount_attributes(cache.get(), "", MOUNT_ATTR_RDONLY); !shut)
      return while_doing(std::move(shut).error(), "cannot make the indexes read-only");
  }
  caches_.clear();
  upper_.reset();
  if (has_namespaces_) {
    if (auto made = make_private_root(share_.get()); !made) {
      return fail(made.error().code, "cannot make the sandbox's root: ", made.error().describe(), kAdvice);
    }
  }
  share_.reset();
  ::umask(0);  // the guest's kernel has applied its own
  Rights rights = Rights::kNone;
  if (is_root_ && served != Served::kImage) rights = Rights::kReadFiles;
  if (is_root_ && writable_) {
    rights = recorded_upper ? Rights::kRecordedUpper : Rights::kUpper;
    if (served == Served::kShare) rights = Rights::kShare;
  }
  LB_TRY(keep_only(rights));
  return end_with_parent(death_signal_, parent_);
}

}  // namespace layerboot::vfsd
