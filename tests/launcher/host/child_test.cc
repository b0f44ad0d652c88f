#include "launcher/host/child.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <string>

#include "oci-mount/base/files.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<Child> shell(const std::string& script, const std::vector<int>& inherited = {}) {
  return Child::spawn({.label = "sh", .argv = {"/bin/sh", "-c", script}}, inherited);
}

TEST(Child, ReportsHowItEnded) {
  auto exited = shell("exit 7");
  ASSERT_TRUE(exited);
  const auto status = exited->wait();
  EXPECT_EQ(status.describe(), "exit status 7");
  EXPECT_FALSE(status.clean());
  auto killed = shell("kill -9 $$");
  ASSERT_TRUE(killed);
  EXPECT_EQ(killed->wait().describe(), "signal 9 (Killed)");
}

TEST(Child, InheritsWhatItIsGivenInOrderAndNothingElse) {
  const Pipe out = make_pipe();
  const Pipe other = make_pipe();
  // As a shell might hand it to us: without close-on-exec.
  const UniqueFd stray(::open("/dev/null", O_RDONLY));
  auto child = shell("echo four >&4; echo three >&3; ls -1 /proc/self/fd | wc -l >&4",
                     {other.write_end.get(), out.write_end.get()});
  ASSERT_TRUE(child);
  EXPECT_TRUE(child->wait().clean());
  std::array<char, 64> text{};
  const ssize_t got = ::read(out.read_end.get(), text.data(), text.size());
  // 0 to 4, and ls's own.
  EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(got)), "four\n6\n");
  ASSERT_EQ(::read(other.read_end.get(), text.data(), text.size()), 6);
}

TEST(Child, ReadsNothingFromOurStandardInput) {
  auto child = shell("read line && exit 1; exit 0");
  ASSERT_TRUE(child);
  EXPECT_TRUE(child->wait().clean());
}

TEST(Child, AProgramThatIsNotThereIsNamed) {
  const auto child = Child::spawn({.label = "x", .argv = {"/no/such/program"}}, {});
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code, ENOENT);
  EXPECT_NE(child.error().text.find("/no/such/program"), std::string::npos);
}

TEST(Child, DestructionLeavesNoProcess) {
  pid_t pid = -1;
  {
    auto child = shell("exec sleep 1000");  // exec: a child of the shell would outlive it
    ASSERT_TRUE(child);
    pid = child->pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

/// A process that starts `script` as `spec` has it and is killed: whether what it started has ended, too.
/// `script` has descriptor 4, for a word that it runs.
void expect_end_with_launcher(const ChildSpec& spec) {
  const Pipe alive = make_pipe();  // its end is seen when the last holder is gone
  const pid_t launcher = ::fork();
  ASSERT_GE(launcher, 0);
  if (launcher == 0) {
    // It says that it runs before we die.
    const Pipe up = make_pipe();
    auto child = Child::spawn(spec, {alive.write_end.get(), up.write_end.get()});
    char c = 0;
    if (!child || ::read(up.read_end.get(), &c, 1) != 1) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(launcher, &status, 0), launcher);
  ASSERT_TRUE(WIFSIGNALED(status));
  Pipe ours = make_pipe();
  ::dup2(ours.write_end.get(), alive.write_end.get());  // close our copy of the writing end
  char c = 0;
  EXPECT_EQ(::read(alive.read_end.get(), &c, 1), 0) << "the grandchild has to die, or this would hang";
}

TEST(Child, DiesWithUs) {
  expect_end_with_launcher({.label = "sh", .argv = {"/bin/sh", "-c", "echo up >&4; exec sleep 1000"}});
}

TEST(Child, DiesWithUsThoughItHasChangedItsUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
  // The user is changed before the word, so that the death signal is gone by then.
  expect_end_with_launcher({.label = "setpriv",
                            .argv = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/sh",
                                     "-c", "echo up >&4; exec sleep 1000"},
                            .own_pid_namespace = true});
}

TEST(Child, InANamespaceOfItsOwnSeesNoProcessOfOurs) {
  if (::geteuid() != 0) GTEST_SKIP() << "a PID namespace needs CAP_SYS_ADMIN";
  const std::string try_to_kill = str_cat("kill -0 ", ::getpid(), " 2>/dev/null && exit 1; exit 7");
  auto child =
      Child::spawn({.label = "sh", .argv = {"/bin/sh", "-c", try_to_kill}, .own_pid_namespace = true}, {});
  ASSERT_TRUE(child);
  EXPECT_EQ(child->wait().value, 7);
  // Children after it are where we are.
  auto next = shell(str_cat("kill -0 ", ::getpid(), " && test $PPID = ", ::getpid()));
  ASSERT_TRUE(next);
  EXPECT_TRUE(next->wait().clean());
}

/// A socket of the host's that accepts whoever reaches it, by an address of the loopback or an abstract name.
UniqueFd host_socket(int family) {
  UniqueFd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in loopback{
      .sin_family = AF_INET, .sin_port = 0, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string abstract = str_cat("layerboot-test-", ::getpid());
  abstract.copy(name.sun_path + 1, sizeof(name.sun_path) - 1);
  const int bound =
      family == AF_INET
          ? ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&loopback), sizeof(loopback))
          : ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + abstract.size()));
  EXPECT_EQ(bound, 0);
  EXPECT_EQ(::listen(socket.get(), 8), 0);
  return socket;
}

/// What this very program does in a child's place (below): its exit code is 0 when it got there.
int reach(const UniqueFd& socket, int apart_from) {
  sockaddr_storage address{};
  socklen_t size_bytes = sizeof(address);
  EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size_bytes), 0);
  std::string hex;
  for (socklen_t i = 0; i < size_bytes; ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto byte = reinterpret_cast<const unsigned char*>(&address)[i];
    hex += {kDigits[byte >> 4U], kDigits[byte & 0xfU]};
  }
  ::setenv("LAYERBOOT_TEST_REACH", hex.c_str(), 1);
  auto child = Child::spawn({.label = "test",
                             .argv = {"/proc/self/exe", "--gtest_also_run_disabled_tests",
                                      "--gtest_filter=Child.DISABLED_ReachesASocketOfTheHost"},
                             .quiet = true,
                             .own_pid_namespace = true,
                             .apart_from = apart_from},
                            {});
  EXPECT_TRUE(child);
  return child ? child->wait().value : -1;
}

TEST(Child, DISABLED_ReachesASocketOfTheHost) {
  const std::string hex = std::getenv("LAYERBOOT_TEST_REACH");
  std::string address;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    address += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  sockaddr_storage to{};
  address.copy(reinterpret_cast<char*>(&to), sizeof(to));
  const UniqueFd socket(::socket(to.ss_family, SOCK_STREAM, 0));
  EXPECT_EQ(
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), static_cast<socklen_t>(address.size())),
      0);
}

TEST(Child, ApartFromTheHostsNetworkReachesNoneOfItsSockets) {
  constexpr int kApart = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  if (::geteuid() != 0 || !can_be_apart(kApart)) GTEST_SKIP() << "namespaces need CAP_SYS_ADMIN";
  for (const int family : {AF_INET, AF_UNIX}) {
    const UniqueFd socket = host_socket(family);
    EXPECT_EQ(reach(socket, 0), 0) << "else the attempt means nothing";
    EXPECT_NE(reach(socket, kApart), 0) << family;
  }
}

TEST(Child, ANamespaceLeavesNoKeeper) {
  if (::geteuid() != 0) GTEST_SKIP() << "a PID namespace needs CAP_SYS_ADMIN";
  {
    auto child =
        Child::spawn({.label = "sleep", .argv = {"/bin/sleep", "1000"}, .own_pid_namespace = true}, {});
    ASSERT_TRUE(child);
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD) << "a child of this process is left";
}

}  // namespace
}  // namespace layerboot::launcher
