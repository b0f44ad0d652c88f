#include "oci-mount/base/walls.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <type_traits>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/sanitizers.h"

namespace layerboot {

namespace {

/// Whom the kernel takes for nobody: it owns nothing.
constexpr id_t kNobody = 65534;

constexpr int kNamespaces =
    CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWPID;

void write_proc(const char* path, const std::string& text) {
  if (const auto file = open_path(path, O_WRONLY)) write_all(file->get(), as_bytes(text), 0);
}

/// Who may not make namespaces as it is may do so in a user namespace, where nobody else is.
bool make_namespaces() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (::unshare(kNamespaces) == 0) return true;
  if (::unshare(kNamespaces | CLONE_NEWUSER) != 0) return false;
  // Without, it is nobody there.
  write_proc("/proc/self/setgroups", "deny");
  write_proc("/proc/self/uid_map", str_cat(uid, ' ', uid, " 1"));
  write_proc("/proc/self/gid_map", str_cat(gid, ' ', gid, " 1"));
  return true;
}

/// A root where nothing is, and nothing can be made.
bool empty_root() {
  constexpr const char* kPlace = "/proc";  // any directory that is always there
  // In a chroot "/" is no mount; what is mounted on kPlace must not show on the host in any case.
  const bool is_private = ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 ||
                          ::mount(nullptr, kPlace, nullptr, MS_PRIVATE, nullptr) == 0;
  if (!is_private ||
      ::mount("none", kPlace, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=0555,size=4k,nr_inodes=1") != 0 ||
      ::chdir(kPlace) != 0) {
    return false;
  }
  // The old root ends up on top of the new one, at the same place, and is let go (pivot_root(2), NOTES). Who
  // is in a chroot can't do that; without rights and without a descriptor of a directory nobody leaves
  // another one.
  const bool is_gone =
      ::syscall(SYS_pivot_root, ".", ".") == 0 ? ::umount2(".", MNT_DETACH) == 0 : ::chroot(".") == 0;
  return is_gone && ::chdir("/") == 0;
}

/// Root in a container or in vfsd may lack the right to be somebody else: then it is root without rights.
Result<void> give_up_rights() {
  become_nobody();
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  if (::syscall(SYS_capset, &header, none.data()) != 0) return errno_error("cannot give up capabilities");
  return {};
}

/// Never returns.
[[noreturn]] void end_as(pid_t child, int first_fd) {
  // The socket's other end must see it when the child is gone.
  ::syscall(SYS_close_range, static_cast<unsigned>(first_fd), ~0U, 0U);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(WIFSIGNALED(status) ? kSignalExitCode + WTERMSIG(status) : WEXITSTATUS(status));
}

Result<void> lower(decltype(RLIMIT_AS) which, rlim_t most) {
  rlimit limit{};
  if (::getrlimit(which, &limit) != 0) return errno_error("getrlimit");
  limit.rlim_max = std::min(limit.rlim_max, most);
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(which, &limit) != 0) return errno_error("setrlimit");
  return {};
}

constexpr std::array kCalls{
    // memory
    SCMP_SYS(brk), SCMP_SYS(mremap), SCMP_SYS(munmap), SCMP_SYS(madvise),
    // a thread's start and waiting
    SCMP_SYS(futex), SCMP_SYS(rseq), SCMP_SYS(sched_yield), SCMP_SYS(set_robust_list), SCMP_SYS(sigaltstack),
    // clocks and random numbers
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(getrandom),
    // the descriptors that are there; how much room their file systems have
    SCMP_SYS(close), SCMP_SYS(fstatfs), SCMP_SYS(ftruncate), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
    SCMP_SYS(write),
    // the end, also abort()'s
    SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn)};

using Filter = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, void (*)(scmp_filter_ctx)>;

/// libseccomp gives a negative errno.
Result<void> check(int status) {
  if (status < 0)
    return fail(-status, "this host takes no seccomp filter, without which nothing foreign is read: ",
                Error{-status, {}}.describe());
  return {};
}

Result<void> allow_if(const Filter& filter, int call, scmp_arg_cmp condition) {
  return check(::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, call, 1, &condition));
}

}  // namespace

void become_nobody() {
  if (::geteuid() != 0) return;
  ::setgroups(0, nullptr);
  if (::setresgid(kNobody, kNobody, kNobody) == 0) ::setresuid(kNobody, kNobody, kNobody);
}

Result<void> end_with_parent(int signal, pid_t parent) {
  if (signal == 0) return {};
  if (::prctl(PR_SET_PDEATHSIG, signal) != 0) return errno_error("PR_SET_PDEATHSIG");
  if (::getppid() != parent) ::raise(signal);
  return {};
}

Result<void> leave_host(int first_fd) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_error("no_new_privs");
  const pid_t parent = ::getppid();
  const bool has_namespaces = make_namespaces();
  if (has_namespaces) empty_root();
  LB_TRY(give_up_rights());
  ::prctl(PR_SET_DUMPABLE, 0);
  LB_TRY(end_with_parent(SIGKILL, parent));
  if (!has_namespaces) return {};
  const pid_t child = ::fork();
  if (child < 0) return errno_error("fork");
  if (child > 0) end_as(child, first_fd);
  return end_with_parent(SIGKILL, 0);  // a parent outside has no number here
}

Result<void> limit_use(const WallLimits& limits) {
  // A sanitizer's library maps all there is, and opens files to say what it has found.
  if (!kSanitizer) {
    LB_TRY(lower(RLIMIT_AS, limits.memory_bytes));
    LB_TRY(lower(RLIMIT_NOFILE, 0));
  }
  LB_TRY(lower(RLIMIT_CPU, limits.cpu_seconds));
  LB_TRY(lower(RLIMIT_FSIZE, limits.file_bytes));
  LB_TRY(lower(RLIMIT_CORE, 0));
  ::signal(SIGXFSZ, SIG_IGN);
  return lower(RLIMIT_NPROC, 0);
}

Result<void> allow_only_what_is_open(std::initializer_list<int> more, std::initializer_list<int> refused) {
  if (kSanitizer) return {};
  const Filter filter(::seccomp_init(SCMP_ACT_KILL_PROCESS), &::seccomp_release);
  if (!filter) return check(-ENOSYS);
  LB_TRY(check(::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1)));
  for (const int call : kCalls) {
    LB_TRY(check(::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, call, 0, nullptr)));
  }
  for (const int call : more)
    LB_TRY(check(::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, call, 0, nullptr)));
  for (const int call : refused)
    LB_TRY(check(::seccomp_rule_add_array(filter.get(), SCMP_ACT_ERRNO(EPERM), call, 0, nullptr)));
  // Memory, but none to run code in.
  const scmp_arg_cmp not_executable{.arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC, .datum_b = 0};
  LB_TRY(allow_if(filter, SCMP_SYS(mmap), not_executable));
  LB_TRY(allow_if(filter, SCMP_SYS(mprotect), not_executable));
  // abort(), and no signal to anybody else.
  LB_TRY(allow_if(
      filter, SCMP_SYS(tgkill),
      {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = static_cast<scmp_datum_t>(::getpid()), .datum_b = 0}));
  // glibc's malloc looks at /proc/sys/vm/overcommit_memory before it first gives memory of a thread back, and
  // does without it.
  LB_TRY(check(::seccomp_rule_add_array(filter.get(), SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(openat), 0, nullptr)));
  return check(::seccomp_load(filter.get()));
}

}  // namespace layerboot
