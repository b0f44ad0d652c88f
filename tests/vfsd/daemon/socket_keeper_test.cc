#include "vfsd/daemon/socket_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "oci-mount/base/sanitizers.h"
#include "tests/support/temp_dir.h"
#include "vfsd/daemon/capabilities.h"
#include "vfsd/daemon/seccomp.h"

namespace layerboot::vfsd {
namespace {

namespace fs = std::filesystem;

/// From here on this process can have no further filter.
struct Refusal {
  Refusal() {
    // seccomp(2) gives EACCES: libseccomp's way.
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{.len = std::size(program), .filter = program};
    stands = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
             ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
  }
  bool stands = false;
};

class SocketKeeperTest : public testing::Test {
 protected:
  SocketFile file(const std::string& name) {
    std::ofstream(dir_ / name) << "x";
    auto file = SocketFile::at(dir_ / name);
    EXPECT_TRUE(file && file->hold());
    return *std::move(file);
  }
  Result<SocketKeeper> start() {
    std::vector<SocketFile> files;
    files.push_back(file("one"));
    files.push_back(file("two"));
    return SocketKeeper::start(std::move(files));
  }

  test::TempDir dir_;
};

TEST_F(SocketKeeperTest, RemovesFilesAtTheEnd) {
  {
    const auto keeper = start();
    ASSERT_TRUE(keeper) << keeper.error().describe();
    EXPECT_TRUE(fs::exists(dir_ / "one"));
  }
  EXPECT_TRUE(fs::is_empty(dir_.path()));
}

TEST_F(SocketKeeperTest, LeavesWhatHasTakenAName) {
  {
    const auto keeper = start();
    ASSERT_TRUE(keeper);
    fs::remove(dir_ / "one");  // its number is free for the next file, where the file system does such
    std::ofstream(dir_ / "one") << "another daemon's";
  }
  EXPECT_TRUE(fs::exists(dir_ / "one"));
  EXPECT_FALSE(fs::exists(dir_ / "two"));
}

TEST_F(SocketKeeperTest, RemovesFilesOfWhoWasKilled) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd kept(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    const auto keeper = start();
    static_cast<void>(::write(write_end.get(), keeper ? "y" : "n", 1));
    for (;;) ::pause();
  }
  write_end.reset();
  char c = 0;
  ASSERT_EQ(::read(kept.get(), &c, 1), 1);
  EXPECT_EQ(c, 'y');
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  while (!fs::is_empty(dir_.path())) ::poll(nullptr, 0, 1);
}

/// Between a keeper's look at a name and its unlink(2), a daemon that follows could bind that name anew.
TEST_F(SocketKeeperTest, WaitsForWhoIsTakingAName) {
  auto next = SocketFile::at(dir_ / "one");
  ASSERT_TRUE(next);
  std::jthread ending;
  {
    const SocketNamesTurn turn(next->directory.get());
    auto keeper = start();
    ASSERT_TRUE(keeper);
    ending = std::jthread([ends = *std::move(keeper)] {});
    ::poll(nullptr, 0, 50);
    EXPECT_TRUE(fs::exists(dir_ / "one"));
    EXPECT_TRUE(fs::exists(dir_ / "two"));
    fs::remove(dir_ / "one");
    std::ofstream(dir_ / "one") << "the next daemon's";
    ASSERT_TRUE(next->hold());
  }
  ending.join();
  EXPECT_TRUE(fs::exists(dir_ / "one"));
  EXPECT_FALSE(fs::exists(dir_ / "two"));
}

/// The line of a process's status in /proc.
std::string status_line(const fs::path& process, const std::string& key) {
  std::ifstream status(process / "status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return line.substr(line.find_last_of("\t ") + 1);
  }
  return {};
}

TEST_F(SocketKeeperTest, HasGivenUpItsRightsBeforeItIsReady) {
  if (kSanitizer) GTEST_SKIP() << "a sanitizer's build has no filter";
  const auto keeper = start();
  ASSERT_TRUE(keeper) << keeper.error().describe();
  std::size_t found = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    if (status_line(entry, "Name") != "vfsd-socket" ||
        status_line(entry, "PPid") != std::to_string(::getpid()))
      continue;
    if (status_line(entry, "State") == "(zombie)") continue;  // an earlier test's
    ++found;
    EXPECT_EQ(status_line(entry, "Seccomp"), "2");
    EXPECT_EQ(status_line(entry, "NoNewPrivs"), "1");
    constexpr unsigned long kDacOverride = 1UL << 1U;
    EXPECT_EQ(std::stoul(status_line(entry, "CapEff"), nullptr, 16), ::geteuid() == 0 ? kDacOverride : 0);
    EXPECT_EQ(std::stoul(status_line(entry, "CapPrm"), nullptr, 16), ::geteuid() == 0 ? kDacOverride : 0);
  }
  EXPECT_EQ(found, 1U);
}

/// How a child ends that has the keeper's rights and does this.
int end_of_keeper(const std::function<bool()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool shut = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                      keep_only(::geteuid() == 0 ? Rights::kRemoveFiles : Rights::kNone) &&
                      allow_only_removing_files(SeccompMode::kKill);
    ::syscall(SYS_exit_group, shut && act() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST_F(SocketKeeperTest, CanRemoveFilesAndNothingElse) {
  if (kSanitizer) GTEST_SKIP() << "a sanitizer's build has no filter";
  std::ofstream(dir_ / "mine") << "x";
  const UniqueFd directory(::open(dir_.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(end_of_keeper([&] { return ::syscall(SYS_unlinkat, directory.get(), "mine", 0) == 0; }), 0);
  const int at = directory.get();
  const long self = ::getpid();
  const std::function<long()> calls[] = {
      [&] { return ::syscall(SYS_openat, at, ".", O_RDONLY, 0); },
      [&] { return ::syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0); },
      [&] { return ::syscall(SYS_mkdirat, at, "new", 0700); },
      [&] { return ::syscall(SYS_linkat, at, "one", at, "other", 0); },
      [&] { return ::syscall(SYS_renameat2, at, "one", at, "other", 0); },
      [&] { return ::syscall(SYS_fchmodat, at, ".", 0777); },
      [&] { return ::syscall(SYS_write, STDERR_FILENO, "!", 1); },
      [&] { return ::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0); },
      [&] { return ::syscall(SYS_kill, self, 0); },
      [&] { return ::syscall(SYS_ptrace, PTRACE_ATTACH, self, 0, 0); },
      [&] { return ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); },
      [&] { return ::syscall(SYS_execve, "/bin/true", nullptr, nullptr); },
      [&] { return ::syscall(SYS_mount, "none", "/", "tmpfs", 0, nullptr); },
      [&] { return ::syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0); },
  };
  for (std::size_t i = 0; i < std::size(calls); ++i) {
    EXPECT_EQ(end_of_keeper([&] { return calls[i]() != 0; }), -SIGSYS) << "call " << i;
  }
  EXPECT_TRUE(fs::is_empty(dir_.path()));
}

TEST_F(SocketKeeperTest, SaysWhenItCannotBeShutIn) {
  // A filter of which every call of seccomp(2) is refused.
  const pid_t child = ::fork();
  if (child == 0) {
    const Refusal refusal;
    const auto keeper = start();
    ::_exit(refusal.stands && !keeper && keeper.error().describe().find("--seccomp none") != std::string::npos
                ? 0
                : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), kSanitizer ? 1 : 0);
}

TEST_F(SocketKeeperTest, HasNothingToDoWithoutFiles) { EXPECT_TRUE(SocketKeeper::start({})); }

}  // namespace
}  // namespace layerboot::vfsd
