#include "vfsd/daemon/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/vfs/share_fs.h"
#include "vfsd/daemon/capabilities.h"

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
Result<void> set_mount_attributes(int dir_fd, const char* path, std::uint64_t attributes,
                                  unsigned which = 0) {
  mount_attr change{};
  change.attr_set = attributes;
  if (::mount_setattr(dir_fd, path, AT_EMPTY_PATH | which, &change, sizeof(change)) != 0) {
    return errno_error("attributes of mount ", path);
  }
  return {};
}

/// A path as mountinfo has it: "\\040" is a space (proc_pid_mountinfo(5)).
std::string unescaped(std::string_view text) {
  std::string path;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && text.size() - at > 3) {
      path += static_cast<char>((text[at + 1] - '0') * 64 + (text[at + 2] - '0') * 8 + (text[at + 3] - '0'));
      at += 3;
    } else {
      path += text[at];
    }
  }
  return path;
}

/// A clone of a directory's mounts leaves those out that are unbindable, and would show what they cover.
Result<void> make_mounts_bindable() {
  constexpr std::size_t kMaxMountsBytes = std::size_t{64} << 20;
  constexpr int kMountPoint = 4;  // the field
  LB_ASSIGN(const std::string mounts, read_file("/proc/self/mountinfo", kMaxMountsBytes));
  std::string_view rest = mounts;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.substr(0, line.find(" - ")).find(" unbindable") == std::string_view::npos) continue;
    for (int i = 0; i < kMountPoint; ++i) line.remove_prefix(line.find(' ') + 1);
    const std::string path = unescaped(line.substr(0, line.find(' ')));
    if (::mount(nullptr, path.c_str(), nullptr, MS_PRIVATE, nullptr) != 0)
      return errno_error("unbindable mount ", path);
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

/// The highest open descriptor, by the list that the kernel keeps.
Result<rlim_t> highest_descriptor() {
  DIR* const list = ::opendir("/proc/self/fd");
  if (list == nullptr) return errno_error("/proc/self/fd");
  rlim_t highest = 0;
  while (const dirent* entry = ::readdir(list)) {
    rlim_t number = 0;
    for (const char* c = entry->d_name; *c >= '0' && *c <= '9'; ++c)
      number = number * 10 + static_cast<rlim_t>(*c - '0');
    highest = std::max(highest, number);
  }
  ::closedir(list);
  return highest;
}

/// The limit is on numbers, not on how many there are. Raised for `more` only.
Result<void> limit_descriptors(rlim_t more) {
  LB_ASSIGN(const rlim_t highest, highest_descriptor());
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return errno_error("RLIMIT_NOFILE");
  const rlim_t most = more == 0 ? limit.rlim_cur : limit.rlim_max;
  limit.rlim_cur = std::min<rlim_t>(most, highest + 1 + Sandbox::kServingDescriptors + more);
  limit.rlim_max = limit.rlim_cur;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return errno_error("RLIMIT_NOFILE");
  return {};
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
  LB_TRY(sandbox.restore_death_signal());
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

Result<void> Sandbox::hold_upper(const std::filesystem::path& upper) const {
  if (!has_namespaces_) return {};
  LB_TRY(make_directories(upper, 0700));
  if (::mount(upper.c_str(), upper.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return errno_error("directory ", upper.native(), " as a mount of its own", kAdvice);
  }
  auto set = set_mount_attributes(AT_FDCWD, upper.c_str(), kHeld);
  if (!set) return while_doing(std::move(set).error(), "directory ", upper.native());
  return {};
}

Result<std::filesystem::path> Sandbox::hold_share(const std::filesystem::path& share) {
  LB_TRY(open_path(share, O_PATH | O_DIRECTORY));
  if (!has_namespaces_) return share;
  share_ = UniqueFd(::open_tree(AT_FDCWD, share.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!share_) return errno_error("directory ", share.native(), " with its mounts", kAdvice);
  auto set =
      set_mount_attributes(share_.get(), "", kHeld | (writable_ ? 0 : MOUNT_ATTR_RDONLY), AT_RECURSIVE);
  if (!set) return while_doing(std::move(set).error(), "directory ", share.native());
  return descriptor_path(share_.get());
}

std::size_t Sandbox::share_descriptors() {
  constexpr rlim_t kOwn = 2 * kServingDescriptors;  // what serving takes, and what is open by then
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max <= kOwn) return kServingDescriptors / 4;
  return std::min<std::size_t>(limit.rlim_max - kOwn, vfs::ShareOptions::kDefaultDescriptors);
}

Result<void> Sandbox::close(Served served) {
  LB_TRY(limit_descriptors(served == Served::kShare ? share_descriptors() : 0));
  if (has_namespaces_) {
    if (auto made = make_private_root(share_.get()); !made) {
      return fail(made.error().code, "cannot make the sandbox's root: ", made.error().describe(), kAdvice);
    }
  }
  share_.reset();
  ::umask(0);  // the guest's kernel has applied its own
  Rights rights = Rights::kNone;
  if (is_root_ && served != Served::kImage) rights = Rights::kReadFiles;
  if (is_root_ && writable_) rights = served == Served::kShare ? Rights::kShare : Rights::kUpper;
  LB_TRY(keep_only(rights));
  return restore_death_signal();
}

Result<void> Sandbox::restore_death_signal() const {
  if (death_signal_ == 0) return {};
  if (::prctl(PR_SET_PDEATHSIG, death_signal_) != 0) return errno_error("PR_SET_PDEATHSIG");
  if (::getppid() != parent_) ::raise(death_signal_);
  return {};
}

}  // namespace layerboot::vfsd
