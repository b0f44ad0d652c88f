// Each case runs in a child of its own, since there is no way back out of a sandbox.
#include "vfsd/daemon/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <functional>

#include "oci-mount/base/files.h"
#include "oci-mount/base/reactor.h"
#include "oci-mount/base/worker_pool.h"
#include "tests/support/temp_dir.h"
#include "vfsd/daemon/seccomp.h"

namespace layerboot::vfsd {
namespace {

/// What `body` has to complain of; "signal N" when it was killed.
std::string in_child(const std::function<std::string()>& body) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return "no pipe";
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string complaint = body();
    const auto written = ::write(writing.get(), complaint.data(), complaint.size());
    ::syscall(SYS_exit_group, written == static_cast<ssize_t>(complaint.size()) ? 0 : 1);
  }
  writing.reset();
  std::string said = read_all(reading.get(), 1 << 16).value_or("?");
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return str_cat("signal ", WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) return str_cat("exit code ", WEXITSTATUS(status));
  return said;
}

std::string outcome(const Result<void>& result) { return result ? "" : result.error().describe(); }

bool host_gives_namespaces() {
  return in_child([] {
           const auto entered = Sandbox::enter(SandboxMode::kNamespace, false);
           return entered ? std::string() : entered.error().describe();
         })
      .empty();
}

/// Whose mounts go on to those of who leaves it.
bool enter_mounts_of_its_own() {
  const std::string uid = str_cat(::geteuid());
  const std::string gid = str_cat(::getegid());
  if (::geteuid() == 0) {
    if (::unshare(CLONE_NEWNS) != 0) return false;
  } else {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << uid << ' ' << uid << " 1";
    std::ofstream("/proc/self/gid_map") << gid << ' ' << gid << " 1";
  }
  return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) == 0;
}

class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!host_gives_namespaces()) GTEST_SKIP() << "this host gives no namespaces";
  }
  test::TempDir dir_;
};

TEST_F(SandboxTest, NoPathLeadsOut) {
  const auto upper = dir_ / "upper";
  EXPECT_EQ(
      in_child([&]() -> std::string {
        auto sandbox = Sandbox::enter(SandboxMode::kNamespace, true);
        if (!sandbox) return sandbox.error().describe();
        if (auto held = sandbox->hold_host(upper, {dir_ / "index"}); !held) return held.error().describe();
        const UniqueFd inside(::open(upper.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (auto closed = sandbox->close(Served::kImage, 0); !closed) return closed.error().describe();
        for (const auto* path : {"/etc", "/tmp", "/proc/1", "/proc/self/root", "/proc/self/exe", "/dev"}) {
          if (::access(path, F_OK) == 0) return str_cat(path, " is there");
        }
        struct stat top{};
        struct stat above{};
        if (::fstat(inside.get(), &top) != 0) return "the upper is lost";
        if (::fstatat(inside.get(), "../../../..", &above, 0) != 0) return "nothing above the upper";
        if (top.st_ino != above.st_ino || top.st_dev != above.st_dev) return "a way up out of the upper";
        if (::mkdir("/new", 0700) == 0) return "the root can be written";
        return "";
      }),
      "");
}

/// While an image is looked for and indexed.
TEST_F(SandboxTest, WhatTheHostMountsMeanwhileIsReadOnlyToo) {
  const auto upper = dir_ / "upper";
  const auto late = dir_ / "late";
  std::filesystem::create_directory(late);
  EXPECT_EQ(in_child([&]() -> std::string {
              if (!enter_mounts_of_its_own()) return "no mount namespace";
              std::array<int, 2> held{};
              std::array<int, 2> mounted{};
              if (::pipe2(held.data(), O_CLOEXEC) != 0 || ::pipe2(mounted.data(), O_CLOEXEC) != 0)
                return "no pipes";
              char c = 0;
              const pid_t host = ::fork();
              if (host == 0) {
                // Where it mounts, who has it in view sees it.
                const bool done =
                    ::read(held[0], &c, 1) == 1 &&
                    ::mount("none", late.c_str(), "tmpfs", 0, "size=1m") == 0 &&
                    ::close(::open((late / "blob").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644)) == 0;
                ::syscall(SYS_exit_group, done && ::write(mounted[1], &c, 1) == 1 ? 0 : 1);
              }
              ::close(mounted[1]);
              auto sandbox = Sandbox::enter(SandboxMode::kNamespace, true);
              if (!sandbox) return sandbox.error().describe();
              if (auto out = sandbox->hold_host(upper, {}); !out) return out.error().describe();
              if (::write(held[1], &c, 1) != 1 || ::read(mounted[0], &c, 1) != 1) return "nothing is mounted";
              const UniqueFd blob(::open((late / "blob").c_str(), O_RDONLY | O_CLOEXEC));
              if (!blob) return "it is not seen";
              if (auto layers = sandbox->hold_layers(); !layers) return layers.error().describe();
              const UniqueFd inside(::open(upper.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
              if (auto closed = sandbox->close(Served::kImage, 0); !closed) return closed.error().describe();
              const auto again = str_cat("/proc/self/fd/", blob.get());
              if (UniqueFd(::open(again.c_str(), O_WRONLY | O_CLOEXEC)) || errno != EROFS)
                return "it can be opened for writing";
              if (!UniqueFd(::openat(inside.get(), "new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)))
                return "the upper can't be written";
              return "";
            }),
            "");
}

TEST_F(SandboxTest, DescriptorsHavePaths) {
  // What the overlay needs /proc/self/fd for.
  const auto upper = dir_ / "upper";
  EXPECT_EQ(in_child([&]() -> std::string {
              auto sandbox = Sandbox::enter(SandboxMode::kNamespace, true);
              if (!sandbox) return sandbox.error().describe();
              if (auto held = sandbox->hold_host(upper, {dir_ / "index"}); !held)
                return held.error().describe();
              const UniqueFd inside(::open(upper.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
              if (auto closed = sandbox->close(Served::kImage, 0); !closed) return closed.error().describe();
              const UniqueFd nameless(::openat(inside.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
              if (!nameless) return "no nameless file";
              const auto self = str_cat("/proc/self/fd/", nameless.get());
              if (::linkat(AT_FDCWD, self.c_str(), inside.get(), "named", AT_SYMLINK_FOLLOW) != 0)
                return "it gets no name";
              const auto named = str_cat("/proc/self/fd/", inside.get(), "/named");
              return ::access(named.c_str(), F_OK) == 0 ? "" : "its path leads nowhere";
            }),
            "");
}

TEST_F(SandboxTest, ShutsWhatItMustShut) {
  EXPECT_EQ(in_child([&]() -> std::string {
              ::prctl(PR_SET_PDEATHSIG, SIGUSR1);
              auto sandbox = Sandbox::enter(SandboxMode::kNamespace, false);
              if (!sandbox) return sandbox.error().describe();
              if (auto closed = sandbox->close(Served::kImage, 0); !closed) return closed.error().describe();
              int death_signal = 0;
              ::prctl(PR_GET_PDEATHSIG, &death_signal);
              if (death_signal != SIGUSR1) return "the parent's death is not told any more";
              if (::umask(0) != 0) return "a umask";
              // Not through glibc, which asks every thread, and ends the process when a sanitizer's answers
              // otherwise.
              if (::syscall(SYS_setgroups, 0, nullptr) == 0) return "groups can be set";
              if (::unshare(CLONE_NEWNET) == 0) return "namespaces can be made";
              rlimit limit{};
              ::getrlimit(RLIMIT_NOFILE, &limit);
              if (limit.rlim_cur != limit.rlim_max) return "the limit of descriptors can be raised";
              return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? "" : "new privileges";
            }),
            "");
}

TEST(Sandbox, NoneGivesUpRightsAllTheSame) {
  EXPECT_EQ(in_child([]() -> std::string {
              auto sandbox = Sandbox::enter(SandboxMode::kNone, false);
              if (!sandbox) return sandbox.error().describe();
              if (sandbox->has_namespaces()) return "namespaces";
              if (auto closed = sandbox->close(Served::kImage, 0); !closed) return closed.error().describe();
              if (::access("/etc", F_OK) != 0) return "another root";
              return ::chown("/", 1, 1) == 0 ? "still root" : "";
            }),
            "");
}

// ---- system calls -------------------------------------------------------------------------------

/// What happens to a thread of a process that serves when it does `forbidden`.
std::string under_filter(bool writable, const std::function<void()>& forbidden,
                         IoEngine engine = IoEngine::kUring) {
  return in_child([&] {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const rlimit no_core{};
    ::setrlimit(RLIMIT_CORE, &no_core);
    if (auto complaint =
            outcome(allow_only_serving(SeccompMode::kKill, {.changes = writable, .engine = engine}));
        !complaint.empty())
      return complaint;
    forbidden();
    return std::string();
  });
}

const std::string kKilled = str_cat("signal ", SIGSYS);

TEST(Seccomp, KillsWhatServingDoesNotTake) {
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_execve, "/bin/true", nullptr, nullptr); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_clone3, nullptr, 0); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_clone, SIGCHLD, nullptr); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_ptrace, 0, 0, nullptr, nullptr); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_kill, ::getppid(), SIGCONT); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_unshare, 0); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_setns, -1, 0); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_open_by_handle_at, -1, nullptr, 0); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_io_uring_setup, 1, nullptr); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_io_uring_register, -1, 0, nullptr, 0); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_ioctl, 0, TCGETS, nullptr); }), kKilled);
  EXPECT_EQ(under_filter(true,
                         [] {
                           ::syscall(SYS_mmap, nullptr, 4096, PROT_READ | PROT_EXEC,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                         }),
            kKilled);
#ifdef SYS_open
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_open, "/", O_RDONLY); }), kKilled);
#endif
}

TEST(Seccomp, ReadOnlyTakesNoCallThatOpensOrChanges) {
  EXPECT_EQ(under_filter(false, [] { ::syscall(SYS_openat2, AT_FDCWD, "/", nullptr, 0); }), kKilled);
  EXPECT_EQ(under_filter(false, [] { ::syscall(SYS_mkdirat, AT_FDCWD, "x", 0); }), kKilled);
  EXPECT_EQ(under_filter(true, [] { ::syscall(SYS_openat2, AT_FDCWD, "/", nullptr, 0); }), "");
}

// Each engine has its own calls and not the other's. What is asked for is refused, or nothing.
TEST(Seccomp, AnEngineTakesItsOwnCalls) {
  const auto enter = [] { ::syscall(SYS_io_uring_enter, -1, 0, 0, 0, nullptr, 0); };
  const auto write_at_once = [] { ::syscall(SYS_pwritev2, -1, nullptr, 0, 0, 0, 0); };
  const auto sync_data = [] { ::syscall(SYS_fdatasync, -1); };
  const auto read_at_once = [] { ::syscall(SYS_preadv2, -1, nullptr, 0, 0, 0, 0); };
  EXPECT_EQ(under_filter(true, enter, IoEngine::kUring), "");
  EXPECT_EQ(under_filter(true, write_at_once, IoEngine::kUring), kKilled);
  EXPECT_EQ(under_filter(true, sync_data, IoEngine::kUring), kKilled);
  for (const bool writable : {false, true}) {
    EXPECT_EQ(under_filter(writable, enter, IoEngine::kEpoll), kKilled);
    EXPECT_EQ(under_filter(writable, read_at_once, IoEngine::kEpoll), "");
    EXPECT_EQ(under_filter(writable, write_at_once, IoEngine::kEpoll), writable ? "" : kKilled);
    EXPECT_EQ(under_filter(writable, sync_data, IoEngine::kEpoll), writable ? "" : kKilled);
  }
}

// glibc tries it in malloc, and must get an answer.
TEST(Seccomp, OpenatFindsNothing) {
  for (const bool upper : {false, true}) {
    EXPECT_EQ(under_filter(upper,
                           [] {
                             if (::syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY) != -1 || errno != ENOENT)
                               ::abort();
                           }),
              "");
  }
}

TEST(Seccomp, BindsThreadsThatAreThereAlready) {
  EXPECT_EQ(in_child([]() -> std::string {
              ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
              const rlimit no_core{};
              ::setrlimit(RLIMIT_CORE, &no_core);
              WorkerPool pool(1);
              pool.start();
              if (auto complaint = outcome(allow_only_serving(SeccompMode::kKill, {.changes = true}));
                  !complaint.empty())
                return complaint;
              pool.submit([] { ::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); });
              for (;;) ::sched_yield();  // until the other thread takes all down
            }),
            kKilled);
}

TEST(Seccomp, LogLetsItHappen) {
  EXPECT_EQ(in_child([]() -> std::string {
              ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
              if (auto complaint = outcome(allow_only_serving(SeccompMode::kLog, {})); !complaint.empty())
                return complaint;
              return ::access("/etc", F_OK) == 0 ? "" : "refused";
            }),
            "");
}

// ---- rings --------------------------------------------------------------------------------------

/// The descriptor of the newest ring of this process; -1 for none.
int newest_ring() {
  int newest = -1;
  for (int fd = 0; fd < 1024; ++fd) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(str_cat("/proc/self/fd/", fd), error);
    if (!error && target == "anon_inode:[io_uring]") newest = fd;
  }
  return newest;
}

TEST(Ring, IsRestricted) {
  const auto reactor = Reactor::create(IoEngine::kUring);
  if (!reactor) GTEST_SKIP() << reactor.error().describe();
  const int ring = newest_ring();
  ASSERT_GE(ring, 0);
  // No registration is on the list, and only a restricted ring refuses these for that.
  const int any_fd = 0;
  EXPECT_EQ(::syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &any_fd, 1), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(::syscall(SYS_io_uring_register, ring, IORING_REGISTER_PERSONALITY, nullptr, 0), -1);
  EXPECT_EQ(errno, EACCES);
}

}  // namespace
}  // namespace layerboot::vfsd
