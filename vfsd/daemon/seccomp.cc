#include "vfsd/daemon/seccomp.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <span>
#include <type_traits>

namespace layerboot::vfsd {

namespace {

/// Threads, memory, clocks, and the control plane's and reactors' waiting.
constexpr std::array kAlways{
    // the C library
    SCMP_SYS(brk), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(futex), SCMP_SYS(getpid), SCMP_SYS(getrandom), SCMP_SYS(gettid), SCMP_SYS(gettimeofday),
    SCMP_SYS(mremap), SCMP_SYS(munmap), SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_yield),
    SCMP_SYS(sigaltstack),
    // a thread that is still starting
    SCMP_SYS(rseq), SCMP_SYS(set_robust_list),
    // both planes
    SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek), SCMP_SYS(read), SCMP_SYS(readv),
    SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_wait),
    SCMP_SYS(timerfd_settime), SCMP_SYS(poll), SCMP_SYS(ppoll),
    // the front end
    SCMP_SYS(accept4), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
    // blobs; statfs
    SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(preadv2), SCMP_SYS(fstatfs)};

/// Directories on the host. Of the ways to open, openat2 only, whose RESOLVE_ flags are used.
constexpr std::array kToLookUp{SCMP_SYS(openat2),   SCMP_SYS(getdents64), SCMP_SYS(readlinkat),
                               SCMP_SYS(statx),     SCMP_SYS(lgetxattr),  SCMP_SYS(llistxattr),
                               SCMP_SYS(fgetxattr), SCMP_SYS(flistxattr), SCMP_SYS(getxattr)};
constexpr std::array kToWrite{
    SCMP_SYS(mkdirat),      SCMP_SYS(mknodat),   SCMP_SYS(symlinkat),    SCMP_SYS(linkat),
    SCMP_SYS(unlinkat),     SCMP_SYS(renameat),  SCMP_SYS(renameat2),    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),     SCMP_SYS(fchown),    SCMP_SYS(fchownat),     SCMP_SYS(utimensat),
    SCMP_SYS(ftruncate),    SCMP_SYS(fallocate), SCMP_SYS(pwrite64),     SCMP_SYS(copy_file_range),
    SCMP_SYS(pwritev),      SCMP_SYS(fsync),     SCMP_SYS(syncfs),       SCMP_SYS(lsetxattr),
    SCMP_SYS(lremovexattr), SCMP_SYS(fsetxattr), SCMP_SYS(fremovexattr), SCMP_SYS(sync_file_range)};

/// malloc's, and those that keep guest memory out of core dumps and children. Others wound the machine
/// (MADV_HWPOISON) or look into it (MADV_PAGEOUT).
constexpr std::array kAdvice{MADV_DONTNEED, MADV_HUGEPAGE, MADV_DONTDUMP, MADV_DONTFORK};

/// What is done with descriptors, in fdopendir(3) as well. F_SETOWN and F_SETSIG would send any signal to any
/// process.
constexpr std::array kDescriptorCommands{F_GETFL, F_GETFD, F_SETFD, F_DUPFD_CLOEXEC};

/// The reactors' own. A ring does by itself what the other engine needs calls for, beyond those above.
constexpr std::array kByRing{SCMP_SYS(io_uring_enter)};
constexpr std::array kToWriteByEpoll{SCMP_SYS(pwritev2), SCMP_SYS(fdatasync)};

using Filter = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, void (*)(scmp_filter_ctx)>;

/// libseccomp gives a negative errno; calls that this architecture does not have are no error.
Result<void> check(int status, std::string_view what) {
  if (status < 0) return fail(-status, "seccomp: ", what, ": ", Error{-status, {}}.describe());
  return {};
}

Result<void> allow(const Filter& filter, std::span<const int> calls) {
  for (const int call : calls) {
    LB_TRY(check(::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, call, 0, nullptr), "a rule"));
  }
  return {};
}

template <typename... Conditions>
Result<void> allow_if(const Filter& filter, int call, Conditions... all) {
  const std::array<scmp_arg_cmp, sizeof...(all)> conditions{all...};
  return check(
      ::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, call, conditions.size(), conditions.data()),
      "a condition");
}

scmp_arg_cmp without_bits(unsigned argument, scmp_datum_t bits) {
  return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits, .datum_b = 0};
}

scmp_arg_cmp equal(unsigned argument, scmp_datum_t value) {
  return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}

/// Calls that are allowed for some arguments, whatever is served.
Result<void> allow_by_arguments(const Filter& filter) {
  for (const int advice : kAdvice)
    LB_TRY(allow_if(filter, SCMP_SYS(madvise), equal(2, static_cast<scmp_datum_t>(advice))));
  for (const int command : kDescriptorCommands)
    LB_TRY(allow_if(filter, SCMP_SYS(fcntl), equal(1, static_cast<scmp_datum_t>(command))));
  LB_TRY(allow_if(filter, SCMP_SYS(fcntl), equal(1, F_SETFL), without_bits(2, O_ASYNC)));
  // Who is at the other end of a socket.
  LB_TRY(allow_if(filter, SCMP_SYS(getsockopt), equal(1, SOL_SOCKET), equal(2, SO_PEERCRED)));
  LB_TRY(allow_if(filter, SCMP_SYS(getsockopt), equal(1, SOL_SOCKET), equal(2, SO_PEERGROUPS)));
  // Memory, but none to run code in.
  LB_TRY(allow_if(filter, SCMP_SYS(mmap), without_bits(2, PROT_EXEC)));
  LB_TRY(allow_if(filter, SCMP_SYS(mprotect), without_bits(2, PROT_EXEC)));
  // Asio's way to make a descriptor non-blocking; no other ioctl but below.
  LB_TRY(allow_if(filter, SCMP_SYS(ioctl), equal(1, FIONBIO)));
  // abort(), and no signal to anybody else.
  return allow_if(filter, SCMP_SYS(tgkill), equal(0, static_cast<scmp_datum_t>(::getpid())));
}

Result<Filter> make_filter(SeccompMode mode) {
  const std::uint32_t otherwise = mode == SeccompMode::kKill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_LOG;
  Filter filter(::seccomp_init(otherwise), &::seccomp_release);
  if (!filter) return fail(ENOSYS, "seccomp is not available; --seccomp none serves without");
  // By calls of x32 and i386 a thread would else be killed, and the others go on without it.
  LB_TRY(
      check(::seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, otherwise), "other machines' calls"));
  LB_TRY(check(::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1), "all threads"));
  // Calls in a binary tree rather than a list: the filter is in the way of each.
  LB_TRY(check(::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "a fast filter"));
  return filter;
}

Result<void> load(const Filter& filter) {
  return check(::seccomp_load(filter.get()), "this host takes no filter (--seccomp none serves without)");
}

}  // namespace

Result<void> allow_only_serving(SeccompMode mode, ServingCalls calls) {
  if (mode == SeccompMode::kNone) return {};
  LB_ASSIGN(const Filter filter, make_filter(mode));
  LB_TRY(allow(filter, kAlways));
  LB_TRY(allow_by_arguments(filter));
  if (calls.changes || calls.lookups) LB_TRY(allow(filter, kToLookUp));
  if (calls.changes) {
    LB_TRY(allow(filter, kToWrite));
    // Which blocks a file has, and whether it was told to have them.
    LB_TRY(allow_if(filter, SCMP_SYS(ioctl), equal(1, FS_IOC_FIEMAP)));
    LB_TRY(allow_if(filter, SCMP_SYS(ioctl), equal(1, FS_IOC_FSGETXATTR)));
    // Whether it is written in place.
    LB_TRY(allow_if(filter, SCMP_SYS(ioctl), equal(1, FS_IOC_GETFLAGS)));
  } else if (calls.image_files && !calls.lookups) {
    LB_TRY(allow(filter, std::array{SCMP_SYS(openat2)}));
  }
  if (calls.callers) {
    LB_TRY(allow(filter, std::array{SCMP_SYS(setfsuid), SCMP_SYS(setfsgid)}));
  }
  if (calls.engine == IoEngine::kUring) {
    LB_TRY(allow(filter, kByRing));
  } else if (calls.changes) {
    LB_TRY(allow(filter, kToWriteByEpoll));
  }
  // glibc's malloc looks at /proc/sys/vm/overcommit_memory before it first gives memory of a thread back, and
  // does without it. Killed for that, a daemon would die when it has worked for a while.
  LB_TRY(check(::seccomp_rule_add_array(filter.get(), SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(openat), 0, nullptr),
               "a refusal"));
  return load(filter);
}

Result<void> allow_only_removing_files(SeccompMode mode) {
  if (mode == SeccompMode::kNone) return {};
  LB_ASSIGN(const Filter filter, make_filter(mode));
  LB_TRY(allow(filter, std::array{SCMP_SYS(read), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(unlinkat),
                                  SCMP_SYS(flock), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
                                  SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall)}));
  LB_TRY(allow_if(filter, SCMP_SYS(write), equal(0, STDOUT_FILENO)));
  return load(filter);
}

}  // namespace layerboot::vfsd
