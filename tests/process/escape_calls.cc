#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <csignal>
#include <vector>

#include "tests/process/escape_ways.h"

namespace layerboot::test {

namespace {

constexpr long kSetOwnEx = 15;  // F_SETOWN_EX and others, which glibc hides
constexpr long kSetSig = 10;
constexpr long kNotify = 1026;
constexpr long kHwPoison = 100;
constexpr long kSoftOffline = 101;

long address_of(const void* memory) { return reinterpret_cast<long>(memory); }

std::vector<ForbiddenCall> list_calls(long victim) {
  static const long owner[2] = {1 /* F_OWNER_PID */, victim};
  return {
      // programs, processes, threads
      {"execve", SYS_execve, {address_of("/bin/true")}},
      {"execveat", SYS_execveat, {AT_FDCWD, address_of("/bin/true")}},
      {"clone", SYS_clone, {SIGCHLD}},
      {"clone3", SYS_clone3, {}},
#ifdef SYS_fork
      {"fork", SYS_fork, {}},
      {"vfork", SYS_vfork, {}},
#endif
      // signals and other processes
      {"kill", SYS_kill, {victim, 0}},
      {"tkill", SYS_tkill, {victim, 0}},
      {"tgkill of another process", SYS_tgkill, {victim, victim, 0}},
      {"rt_sigqueueinfo", SYS_rt_sigqueueinfo, {victim, 0}},
      {"rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo, {victim, victim, 0}},
      {"pidfd_open", SYS_pidfd_open, {victim, 0}},
      {"pidfd_send_signal", SYS_pidfd_send_signal, {-1, 0}},
      {"pidfd_getfd", SYS_pidfd_getfd, {-1, 0}},
      {"timer_create", SYS_timer_create, {-1}},
      {"fcntl F_SETOWN", SYS_fcntl, {0, F_SETOWN, victim}},
      {"fcntl F_SETOWN_EX", SYS_fcntl, {0, kSetOwnEx, address_of(owner)}},
      {"fcntl F_SETSIG", SYS_fcntl, {0, kSetSig, SIGKILL}},
      {"fcntl F_SETFL O_ASYNC", SYS_fcntl, {0, F_SETFL, O_ASYNC}},
      {"fcntl F_NOTIFY", SYS_fcntl, {0, kNotify, 0}},
      {"ioctl FIOASYNC", SYS_ioctl, {0, FIOASYNC, 0}},
      {"ioctl FIOSETOWN", SYS_ioctl, {0, 0x8901, 0}},
      {"ptrace", SYS_ptrace, {PTRACE_SEIZE, victim, 0, 0}},
      {"process_vm_readv", SYS_process_vm_readv, {victim}},
      {"process_vm_writev", SYS_process_vm_writev, {victim}},
      {"process_madvise", SYS_process_madvise, {-1}},
      {"kcmp", SYS_kcmp, {victim, victim}},
      {"setpriority", SYS_setpriority, {0, victim, 0}},
      {"sched_setscheduler", SYS_sched_setscheduler, {victim, -1}},
      {"prlimit64", SYS_prlimit64, {victim}},
      {"migrate_pages", SYS_migrate_pages, {victim}},
      // mounts, namespaces, roots
      {"mount", SYS_mount, {}},
      {"umount2", SYS_umount2, {address_of("")}},
      {"mount_setattr", SYS_mount_setattr, {-1}},
      {"open_tree", SYS_open_tree, {-1, address_of("")}},
      {"move_mount", SYS_move_mount, {-1, address_of("")}},
      {"fsopen", SYS_fsopen, {address_of("none")}},
      {"fspick", SYS_fspick, {-1, address_of("")}},
      {"pivot_root", SYS_pivot_root, {address_of(""), address_of("")}},
      {"chroot", SYS_chroot, {address_of("")}},
      {"setns", SYS_setns, {-1}},
      {"unshare of users", SYS_unshare, {CLONE_NEWUSER}},
  // files by other ways
#ifdef SYS_open
      {"open", SYS_open, {address_of("/etc/passwd"), O_RDONLY}},
      {"creat", SYS_creat, {address_of("")}},
#endif
      {"open_by_handle_at", SYS_open_by_handle_at, {-1}},
      {"name_to_handle_at", SYS_name_to_handle_at, {-1}},
      {"memfd_create", SYS_memfd_create, {address_of("x")}},
      {"fanotify_init", SYS_fanotify_init, {~0L}},
      {"inotify_init1", SYS_inotify_init1, {~0L}},
      {"ioctl FS_IOC_SETFLAGS", SYS_ioctl, {-1, FS_IOC_SETFLAGS}},
      {"ioctl TIOCSTI", SYS_ioctl, {-1, TIOCSTI}},
      {"ioctl SIOCGIFCONF", SYS_ioctl, {-1, 0x8912}},
      {"quotactl", SYS_quotactl, {~0L}},
      {"acct", SYS_acct, {address_of("/nowhere")}},
      {"swapon", SYS_swapon, {address_of("/nowhere")}},
      // networks
      {"socket AF_INET", SYS_socket, {AF_INET, SOCK_STREAM}},
      {"socket AF_UNIX", SYS_socket, {AF_UNIX, SOCK_STREAM}},
      {"socket AF_NETLINK", SYS_socket, {AF_NETLINK, SOCK_RAW}},
      {"socket AF_VSOCK", SYS_socket, {AF_VSOCK, SOCK_STREAM}},
      {"socketpair", SYS_socketpair, {AF_UNIX, SOCK_STREAM}},
      {"connect", SYS_connect, {-1}},
      {"bind", SYS_bind, {-1}},
      {"listen", SYS_listen, {-1}},
      {"setsockopt", SYS_setsockopt, {-1}},
      {"getsockopt of another option", SYS_getsockopt, {-1, SOL_SOCKET, SO_PEERSEC}},
      {"getsockopt of another level", SYS_getsockopt, {-1, 0, SO_PEERCRED}},
      // rights
      {"setuid", SYS_setuid, {-1}},
      {"setresuid", SYS_setresuid, {-1, -1, -1}},
      {"setgroups", SYS_setgroups, {-1}},
      {"capset", SYS_capset, {}},
      {"prctl", SYS_prctl, {-1}},
      {"seccomp", SYS_seccomp, {-1}},
      {"personality", SYS_personality, {~0L}},
      {"keyctl", SYS_keyctl, {-1}},
      {"add_key", SYS_add_key, {}},
      {"request_key", SYS_request_key, {}},
      // the kernel's wide doors
      {"io_uring_setup", SYS_io_uring_setup, {1}},
      {"io_uring_register", SYS_io_uring_register, {-1}},
      {"bpf", SYS_bpf, {-1}},
      {"userfaultfd", SYS_userfaultfd, {~0L}},
      {"perf_event_open", SYS_perf_event_open, {}},
      {"init_module", SYS_init_module, {}},
      {"finit_module", SYS_finit_module, {-1}},
      {"kexec_load", SYS_kexec_load, {0, ~0L}},
      {"reboot", SYS_reboot, {}},
      {"settimeofday", SYS_settimeofday, {}},
      {"clock_settime", SYS_clock_settime, {-1}},
      {"sethostname", SYS_sethostname, {0, -1}},
      {"syslog", SYS_syslog, {-1}},
      {"splice", SYS_splice, {-1}},
      {"vmsplice", SYS_vmsplice, {-1}},
      {"msgget", SYS_msgget, {0, 0}},
      {"shmget", SYS_shmget, {0, 0}},
      {"add_watch", SYS_inotify_add_watch, {-1}},
      // memory to run code in, and the machine's memory
      {"mmap PROT_EXEC", SYS_mmap, {0, 0, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1}},
      {"mprotect PROT_EXEC", SYS_mprotect, {0, 0, PROT_READ | PROT_EXEC}},
      {"pkey_mprotect", SYS_pkey_mprotect, {0, 0, 0, -1}},
      {"remap_file_pages", SYS_remap_file_pages, {}},
      {"madvise MADV_HWPOISON", SYS_madvise, {0, 0, kHwPoison}},
      {"madvise MADV_SOFT_OFFLINE", SYS_madvise, {0, 0, kSoftOffline}},
      {"madvise MADV_REMOVE", SYS_madvise, {0, 0, MADV_REMOVE}},
      {"mlockall", SYS_mlockall, {~0L}},
#ifdef SYS_iopl
      {"iopl", SYS_iopl, {-1}},
      {"ioperm", SYS_ioperm, {-1, -1, -1}},
      {"modify_ldt", SYS_modify_ldt, {-1}},
#endif
#ifdef __x86_64__
      {"a call of x32", 0x40000000 | SYS_getpid, {}},
#endif
  };
}

}  // namespace

std::span<const ForbiddenCall> forbidden_calls(long victim) {
  static const std::vector<ForbiddenCall> calls = list_calls(victim);
  return calls;
}

}  // namespace layerboot::test
