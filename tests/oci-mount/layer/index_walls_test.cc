// Programs that try to get out of where foreign layers are read. Each try is made in a process of its own,
// since there is no way back.
#include "oci-mount/base/walls.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <functional>

#include "oci-mount/base/files.h"
#include "oci-mount/base/sanitizers.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

constexpr WallLimits kLimits{.memory_bytes = 1ULL << 30U, .cpu_seconds = 60, .file_bytes = 4096};

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
  if (WEXITSTATUS(status) > kSignalExitCode) return str_cat("signal ", WEXITSTATUS(status) - kSignalExitCode);
  if (WEXITSTATUS(status) != 0) return str_cat("exit code ", WEXITSTATUS(status));
  return said;
}

/// Behind all but the filter of calls, so that what the others hold shows.
std::string outside(const std::function<std::string()>& tries) {
  return in_child([&]() -> std::string {
    if (const auto left = leave_host(3 + 64); !left) return left.error().describe();
    if (const auto limited = limit_use(kLimits); !limited) return limited.error().describe();
    return tries();
  });
}

/// Behind all walls.
std::string walled(const std::function<std::string()>& tries) {
  return in_child([&]() -> std::string {
    if (const auto left = leave_host(3 + 64); !left) return left.error().describe();
    if (const auto limited = limit_use(kLimits); !limited) return limited.error().describe();
    if (const auto shut = allow_only_what_is_open(); !shut) return shut.error().describe();
    return tries();
  });
}

bool host_gives_namespaces() {
  return in_child([] {
           constexpr int kAll = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID;
           return std::string(::unshare(kAll) == 0 || ::unshare(kAll | CLONE_NEWUSER) == 0 ? "" : "none");
         })
      .empty();
}

class IndexWallsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!host_gives_namespaces()) GTEST_SKIP() << "this host gives no namespaces";
  }
};

TEST_F(IndexWallsTest, NorOfAChroot) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root makes a chroot";
  const test::TempDir dir;
  std::filesystem::create_directories(dir / "etc");
  std::filesystem::create_directories(dir / "proc");
  EXPECT_EQ(in_child([&]() -> std::string {
              if (::unshare(CLONE_NEWNS) != 0 ||
                  ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
                  ::mount("proc", (dir / "proc").c_str(), "proc", 0, nullptr) != 0 ||
                  ::chroot(dir.path().c_str()) != 0 || ::chdir("/") != 0)
                return "no chroot";
              const auto left = leave_host(3 + 64);
              if (!left) return left.error().describe();
              for (const char* path : {"/etc", "/proc", "/../etc", "../../../etc"}) {
                if (::access(path, F_OK) == 0) return std::string(path) + " is in view";
              }
              return ::chroot("/") == 0 ? "it may change its root" : "";
            }),
            "");
}

TEST_F(IndexWallsTest, NothingOfTheHostIsInView) {
  const test::TempDir dir;
  const std::string file = dir / "file";
  {
    const UniqueFd made(::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
  }
  EXPECT_EQ(in_child([&]() -> std::string {
              const auto left = leave_host(3 + 64);
              if (!left) return left.error().describe();
              for (const std::string path :
                   {file, std::string("/etc/passwd"), std::string("/proc/self"), std::string("/dev/null"),
                    std::string("/tmp"), std::string("/../../etc"), std::string("etc")}) {
                if (::access(path.c_str(), F_OK) == 0) return path + " is in view";
              }
              const UniqueFd root(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
              std::array<char, 4096> names{};
              // "." and ".." take 24 bytes each.
              if (::syscall(SYS_getdents64, root.get(), names.data(), names.size()) > 48)
                return "the root is not empty";
              if (::mkdir("/made", 0700) == 0) return "the root can be written";
              if (::mknod("/null", S_IFCHR | 0600, makedev(1, 3)) == 0) return "a device can be made";
              if (::mount("none", "/", "tmpfs", 0, nullptr) == 0) return "something can be mounted";
              if (::mount("none", "/", "proc", 0, nullptr) == 0) return "/proc can be mounted";
              if (::chroot("/") == 0) return "it may change its root";
              return "";
            }),
            "");
}

TEST_F(IndexWallsTest, NobodyCanBeReached) {
  const UniqueFd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(place);
  ASSERT_EQ(::bind(tcp.get(), reinterpret_cast<sockaddr*>(&place), size), 0);
  ASSERT_EQ(::listen(tcp.get(), 1), 0);
  ASSERT_EQ(::getsockname(tcp.get(), reinterpret_cast<sockaddr*>(&place), &size), 0);
  const UniqueFd local(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const auto text = str_cat("layerboot-walls-", ::getpid());
  std::memcpy(name.sun_path + 1, text.data(), text.size());
  const auto name_size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  ASSERT_EQ(::bind(local.get(), reinterpret_cast<sockaddr*>(&name), name_size), 0);
  ASSERT_EQ(::listen(local.get(), 1), 0);
  const pid_t neighbour = ::getpid();
  EXPECT_EQ(in_child([&]() -> std::string {
              if (const auto left = leave_host(3 + 64); !left) return left.error().describe();
              const UniqueFd by_tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
              if (::connect(by_tcp.get(), reinterpret_cast<sockaddr*>(&place), sizeof(place)) == 0)
                return "loopback";
              const UniqueFd by_name(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
              if (::connect(by_name.get(), reinterpret_cast<sockaddr*>(&name), name_size) == 0)
                return "an abstract socket";
              if (::kill(neighbour, 0) == 0 || errno != ESRCH)
                return "a process of the host has a number here";
              if (::kill(-1, SIGKILL) == 0) return "something else was there to be killed";
              if (::ptrace(PTRACE_ATTACH, neighbour, nullptr, nullptr) == 0) return "a process can be traced";
              if (::getpid() != 1) return "process numbers of the host";
              return "";
            }),
            "");
}

TEST_F(IndexWallsTest, ItIsNobodyWithoutRights) {
  EXPECT_EQ(outside([]() -> std::string {
              if (::geteuid() == 0 || ::getegid() == 0) return "it is root";
              if (::setuid(0) == 0) return "it can become root";
              if (::getgroups(0, nullptr) > 0 && ::geteuid() == 65534) return "it has root's groups";
              for (int right = 0; ::prctl(PR_CAPBSET_READ, right) >= 0; ++right) {
                if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, right, 0, 0) == 0)
                  return str_cat("right ", right);
              }
              if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return "new privileges";
              if (::prctl(PR_GET_DUMPABLE) != 0) return "others may look into it";
              return "";
            }),
            "");
}

TEST_F(IndexWallsTest, ItCanTakeNoMoreThanItsShare) {
  if (kSanitizer) GTEST_SKIP() << "a sanitizer's library takes what it needs";
  const test::TempDir dir;
  const UniqueFd file(::open((dir / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  EXPECT_EQ(outside([&]() -> std::string {
              for (int i = 0; i < 3; ++i) {
                const pid_t child = ::fork();
                if (child == 0) ::_exit(0);
                if (child > 0) return "it can fork";
              }
              if (::dup(0) >= 0) return "another descriptor";
              if (::mmap(nullptr, kLimits.memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                         -1, 0) != MAP_FAILED)
                return "more memory than its limit";
              if (::mmap(nullptr, kLimits.memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                         -1, 0) != MAP_FAILED)
                return "more shared memory than its limit";
              if (::ftruncate(file.get(), kLimits.file_bytes + 1) == 0) return "a longer file";
              if (::pwrite(file.get(), "x", 1, kLimits.file_bytes) == 1) return "a byte behind the limit";
              return ::pwrite(file.get(), "x", 1, 0) == 1 ? "" : "not a byte before it";
            }),
            "");
}

TEST_F(IndexWallsTest, ItDiesWithWhoStartedIt) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  EXPECT_EQ(in_child([&]() -> std::string {
              const pid_t inner = ::fork();
              if (inner == 0) {
                [[maybe_unused]] const auto left = leave_host(3 + 64);
                [[maybe_unused]] const auto put = ::write(writing.get(), "x", 1);
                ::pause();
              }
              char c = 0;
              return ::read(reading.get(), &c, 1) == 1 ? "" : "it said nothing";
            }),
            "");
  writing.reset();
  char c = 0;
  EXPECT_EQ(::read(reading.get(), &c, 1), 0) << "nobody holds the other end any more";
}

/// Each ends the process.
TEST(IndexWalls, EveryOtherCallIsTheEnd) {
  if (kSanitizer) GTEST_SKIP() << "a sanitizer's build has no filter";
  const std::string killed = str_cat("signal ", SIGSYS);
  const auto expect_killed = [&](const char* what, const std::function<void()>& call) {
    EXPECT_EQ(walled([&]() -> std::string {
                call();
                return "it was done";
              }),
              killed)
        << what;
  };
  const int own = static_cast<int>(::getpid());
  std::array<int, 2> sockets{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()), 0);
  const UniqueFd one(sockets[0]);
  const UniqueFd other(sockets[1]);
  expect_killed("open", [] { ::syscall(SYS_open, "/etc/passwd", O_RDONLY); });
  expect_killed("openat2", [] { ::syscall(SYS_openat2, AT_FDCWD, "/", nullptr, 0); });
  expect_killed("open_by_handle_at", [] { ::syscall(SYS_open_by_handle_at, 3, nullptr, 0); });
  expect_killed("stat", [] { ::syscall(SYS_newfstatat, AT_FDCWD, "/", nullptr, 0); });
  expect_killed("socket", [] { ::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0); });
  expect_killed("connect", [&] { ::syscall(SYS_connect, one.get(), nullptr, 0); });
  expect_killed("a descriptor to others", [&] { ::syscall(SYS_sendmsg, one.get(), nullptr, 0); });
  expect_killed("a descriptor from others", [&] { ::syscall(SYS_recvmsg, one.get(), nullptr, 0); });
  expect_killed("fork", [] { ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0); });
  expect_killed("clone3", [] { ::syscall(SYS_clone3, nullptr, 0); });
  expect_killed("exec", [] { ::syscall(SYS_execve, "/bin/sh", nullptr, nullptr); });
  expect_killed("execveat", [] { ::syscall(SYS_execveat, 3, "", nullptr, nullptr, AT_EMPTY_PATH); });
  expect_killed("kill", [&] { ::syscall(SYS_kill, own, SIGKILL); });
  expect_killed("tgkill of another", [&] { ::syscall(SYS_tgkill, own, own, SIGKILL); });
  expect_killed("rt_sigqueueinfo", [&] { ::syscall(SYS_rt_sigqueueinfo, own, SIGKILL, nullptr); });
  expect_killed("pidfd_open", [&] { ::syscall(SYS_pidfd_open, own, 0); });
  expect_killed("ptrace", [&] { ::syscall(SYS_ptrace, PTRACE_ATTACH, own, nullptr, nullptr); });
  expect_killed("process_vm_readv", [&] { ::syscall(SYS_process_vm_readv, own, nullptr, 0, nullptr, 0, 0); });
  expect_killed("unshare", [] { ::syscall(SYS_unshare, CLONE_NEWUSER); });
  expect_killed("setns", [] { ::syscall(SYS_setns, 3, 0); });
  expect_killed("mount", [] { ::syscall(SYS_mount, "none", "/", "proc", 0, nullptr); });
  expect_killed("io_uring", [] { ::syscall(SYS_io_uring_setup, 1, nullptr); });
  expect_killed("bpf", [] { ::syscall(SYS_bpf, BPF_MAP_CREATE, nullptr, 0); });
  expect_killed("userfaultfd", [] { ::syscall(SYS_userfaultfd, 0); });
  expect_killed("memfd_create", [] { ::syscall(SYS_memfd_create, "x", 0); });
  expect_killed("signals by fcntl", [&] { ::syscall(SYS_fcntl, one.get(), F_SETOWN, own); });
  expect_killed("keys into a terminal", [] { ::syscall(SYS_ioctl, 0, TIOCSTI, "x"); });
  expect_killed("prctl", [] { ::syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); });
  expect_killed("code in new memory", [] {
    ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  });
  expect_killed("code in old memory", [] {
    alignas(4096) static std::array<char, 4096> page;
    ::mprotect(page.data(), page.size(), PROT_READ | PROT_EXEC);
  });
  expect_killed("higher limits", [] { ::syscall(SYS_prlimit64, 0, RLIMIT_AS, nullptr, nullptr); });
}

TEST(IndexWalls, WhatIndexingTakesIsLeft) {
  const test::TempDir dir;
  const UniqueFd file(::open((dir / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  EXPECT_EQ(walled([&]() -> std::string {
              const std::vector<char> memory(1 << 20, 'x');
              if (::pwrite(file.get(), memory.data(), 4096, 0) != 4096) return "no write";
              if (::ftruncate(file.get(), 8) != 0) return "no truncation";
              char c = 0;
              if (::pread(file.get(), &c, 1, 7) != 1 || c != 'x') return "no read";
              if (!kSanitizer && (::open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0 || errno != ENOENT))
                return "an open";
              return "";
            }),
            "");
  EXPECT_EQ(walled([]() -> std::string { std::abort(); }),
            kSanitizer ? str_cat("signal ", SIGABRT) : str_cat("signal ", SIGSEGV))
      << "the first process of a namespace takes no SIGABRT, and ends by what abort() does next";
}

}  // namespace
}  // namespace layerboot::layer
