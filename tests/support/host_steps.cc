#include "tests/support/host_steps.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <string_view>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

namespace {

enum class Touch : unsigned char { kChanges, kLooks };

struct Call {
  int number;
  std::string_view name;
  Touch touch;
};
// write(2) is not among them: it is what programs talk to each other by.
#define LB_CALL(name) \
  Call { SYS_##name, #name, Touch::kChanges }
#define LB_LOOK(name) \
  Call { SYS_##name, #name, Touch::kLooks }
constexpr std::array kCalls = {
    LB_CALL(openat),          LB_CALL(openat2),    LB_CALL(mkdirat),      LB_CALL(mknodat),
    LB_CALL(symlinkat),       LB_CALL(linkat),     LB_CALL(unlinkat),     LB_CALL(renameat2),
    LB_CALL(fchownat),        LB_CALL(fchmod),     LB_CALL(fchmodat),     LB_CALL(utimensat),
    LB_CALL(setxattr),        LB_CALL(lsetxattr),  LB_CALL(fsetxattr),    LB_CALL(pwrite64),
    LB_CALL(pwritev),         LB_CALL(pwritev2),   LB_CALL(lremovexattr), LB_CALL(fremovexattr),
    LB_CALL(ftruncate),       LB_CALL(fallocate),  LB_CALL(fsync),        LB_CALL(fdatasync),
    LB_CALL(syncfs),          LB_CALL(fchown),     LB_CALL(futimesat),    LB_CALL(removexattr),
    LB_CALL(io_uring_enter),  LB_CALL(renameat),   LB_CALL(rename),       LB_CALL(mkdir),
    LB_CALL(copy_file_range), LB_LOOK(fstat),      LB_LOOK(newfstatat),   LB_LOOK(statx),
    LB_LOOK(getdents64),      LB_LOOK(lgetxattr),  LB_LOOK(fgetxattr),    LB_LOOK(llistxattr),
    LB_LOOK(flistxattr),      LB_LOOK(readlinkat), LB_LOOK(pread64),      LB_LOOK(preadv),
    LB_LOOK(preadv2),         LB_LOOK(read),       LB_LOOK(lseek),        LB_LOOK(fstatfs),
    LB_LOOK(close),           LB_LOOK(ioctl),      LB_LOOK(fcntl)};
#undef LB_CALL
#undef LB_LOOK
constexpr std::array kNeverStoppedAt = {SYS_write,
                                        SYS_futex,
                                        SYS_mmap,
                                        SYS_munmap,
                                        SYS_mremap,
                                        SYS_madvise,
                                        SYS_mprotect,
                                        SYS_brk,
                                        SYS_exit,
                                        SYS_exit_group,
                                        SYS_clone,
                                        SYS_clone3,
                                        SYS_rseq,
                                        SYS_gettid,
                                        SYS_set_robust_list,
                                        SYS_sched_yield,
                                        SYS_clock_gettime,
                                        SYS_rt_sigprocmask,
                                        SYS_sigaltstack,
                                        SYS_clock_nanosleep};

/// Where the child's answer is, at most.
constexpr std::size_t kMaxAnswerBytes = 4U << 20;

const Call* call_of(int number) {
  const auto* const found = std::ranges::find(kCalls, number, &Call::number);
  return found == kCalls.end() ? nullptr : found;
}

/// Sends the calls that are stopped at to the listener that it gives.
int install_filter(Stops stops) {
  const bool all = stops == Stops::kAll;
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  const auto decide = [&program](long number, std::uint32_t what) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, what));
  };
  if (all) {
    for (const long number : kNeverStoppedAt) decide(number, SECCOMP_RET_ALLOW);
  } else {
    for (const Call& call : kCalls) {
      if (call.touch == Touch::kChanges) decide(call.number, SECCOMP_RET_USER_NOTIF);
    }
  }
  const std::uint32_t others = all ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW;
  program.push_back(BPF_STMT(BPF_RET | BPF_K, others));
  const sock_fprog whole{.len = static_cast<unsigned short>(program.size()), .filter = program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  return static_cast<int>(
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &whole));
}

}  // namespace

std::string name_of(const HostStep& step) {
  const Call* const call = call_of(step.call);
  return call != nullptr ? std::string(call->name) : str_cat("call ", step.call);
}

bool is_about_files(const HostStep& step) { return call_of(step.call) != nullptr; }

struct StepMarks::Shared {
  std::atomic<bool> between_marks;
};

void StepMarks::begin() { shared_->between_marks.store(true); }
void StepMarks::end() { shared_->between_marks.store(false); }

struct SteppedRun {
  std::function<std::string(StepMarks&)> work;
  BeforeStep before_step;  // or none
  Stops stops = Stops::kChanges;
  UniqueFd answer;
  UniqueFd ready_from_child;
  UniqueFd ready_to_parent;
  StepMarks::Shared* shared = nullptr;
  unsigned next_step = 0;

  [[noreturn]] void be_the_child() {
    int listener = -1;
    if (before_step) listener = install_filter(stops);
    if (::write(ready_to_parent.get(), &listener, sizeof(listener)) != sizeof(listener)) ::_exit(2);
    if (before_step && listener < 0) ::_exit(3);
    StepMarks marks(shared);
    const std::string text = work(marks);
    marks.end();
    std::fflush(nullptr);
    const auto written = ::write(answer.get(), text.data(), text.size());
    ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 4);
  }

  /// Whether the call may change anything: an open of what is there does not.
  static bool may_change(const seccomp_notif& request) {
    const auto& data = request.data;
    const Call* const call = call_of(data.nr);
    if (call == nullptr || call->touch == Touch::kLooks) return false;
    std::uint64_t flags = O_CREAT;
    if (data.nr == SYS_openat) flags = data.args[2];
    if (data.nr == SYS_openat2) {
      open_how how{};
      iovec here{&how, sizeof(how)};
      iovec there{reinterpret_cast<void*>(data.args[2]), sizeof(how)};
      const auto got = ::process_vm_readv(static_cast<pid_t>(request.pid), &here, 1, &there, 1, 0);
      if (got == static_cast<ssize_t>(sizeof(how))) flags = how.flags;
    }
    return (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) != 0;
  }

  /// One call of the child's, from its stop to its going on.
  void serve(int listener) {
    seccomp_notif request{};
    if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) return;  // it has died meanwhile
    seccomp_notif_resp response{};
    response.id = request.id;
    response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    const bool counts = shared->between_marks.load();
    const bool changes = counts && may_change(request);
    if (counts && (changes || stops == Stops::kAll)) {
      const int code = before_step({.number = next_step++, .call = request.data.nr, .changes = changes});
      if (code != 0) {
        response.flags = 0;
        response.error = -code;
      }
    }
    ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }

  Result<void> watch(pid_t child) {
    int number = -1;
    if (::read(ready_from_child.get(), &number, sizeof(number)) != sizeof(number)) {
      return fail(ECHILD, "the child died early");
    }
    if (!before_step) return {};
    if (number < 0) return fail(EPERM, "cannot watch system calls (seccomp's user notification)");
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    const UniqueFd listener(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
    if (!listener) {
      ::kill(child, SIGKILL);
      return errno_error("pidfd_getfd");
    }
    for (;;) {
      pollfd ready{.fd = listener.get(), .events = POLLIN, .revents = 0};
      if (::poll(&ready, 1, -1) < 0 && errno != EINTR) return errno_error("poll");
      if ((ready.revents & POLLIN) != 0) {
        serve(listener.get());
      } else if ((ready.revents & POLLHUP) != 0) {
        return {};
      }
    }
  }

  Result<std::string> run() {
    answer = UniqueFd(::memfd_create("answer", MFD_CLOEXEC));
    int ends[2];
    if (!answer || ::pipe2(ends, O_CLOEXEC) != 0) return errno_error("a child's pipe");
    ready_from_child = UniqueFd(ends[0]);
    ready_to_parent = UniqueFd(ends[1]);
    void* const page =
        ::mmap(nullptr, sizeof(StepMarks::Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return errno_error("mmap");
    shared = new (page) StepMarks::Shared{};
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) return errno_error("fork");
    if (child == 0) be_the_child();
    ready_to_parent.reset();
    const auto watched = watch(child);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    ::munmap(page, sizeof(StepMarks::Shared));
    if (!watched) return std::unexpected(watched.error());
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      return fail(ECHILD, "the child ended with status ", status);
    }
    if (::lseek(answer.get(), 0, SEEK_SET) != 0) return errno_error("lseek");
    return read_all(answer.get(), kMaxAnswerBytes);
  }
};

Result<std::string> run_in_steps(const std::function<std::string(StepMarks&)>& work,
                                 const BeforeStep& before_step, Stops stops) {
  return SteppedRun{.work = work,
                    .before_step = before_step,
                    .stops = stops,
                    .answer = {},
                    .ready_from_child = {},
                    .ready_to_parent = {}}
      .run();
}

Result<std::map<std::string, unsigned>> count_calls(const std::function<std::string(StepMarks&)>& work) {
  std::map<std::string, unsigned> counts;
  LB_ASSIGN(const std::string said, run_in_steps(
                                        work,
                                        [&counts](const HostStep& step) {
                                          ++counts[name_of(step)];
                                          return 0;
                                        },
                                        Stops::kAll));
  if (!said.empty()) return fail(ECANCELED, said);
  return counts;
}

Result<std::string> run_apart(const std::function<std::string()>& work) {
  return run_in_steps([&](StepMarks&) { return work(); }, nullptr);
}

}  // namespace layerboot::test
