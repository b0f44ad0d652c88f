#include "launcher/host/run_tool.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "oci-mount/base/files.h"
#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

class RunTool : public ScratchTest {};

TEST_F(RunTool, GivesStandardOutput) {
  const auto out = run_tool({"sh", "-c", "echo out; echo err >&2"});
  ASSERT_TRUE(out) << out.error().text;
  EXPECT_EQ(*out, "out\n");
}

TEST_F(RunTool, AFailureTellsTheToolsOwnWords) {
  const auto out = run_tool({"sh", "-c", "echo it broke >&2; exit 3"});
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().text, "sh failed with exit status 3: it broke");
}

TEST_F(RunTool, WhatItSaidIsThereAfterASuccessToo) {
  std::string said;
  pid_t pid = -1;
  ToolSpec spec;
  spec.argv = {"sh", "-c", "echo out; echo mind this >&2"};
  spec.messages = &said;
  spec.on_start = [&pid](pid_t started) { pid = started; };
  EXPECT_EQ(run_tool(spec).value_or(""), "out\n");
  EXPECT_EQ(said, "mind this");
  EXPECT_GT(pid, 0);
}

TEST_F(RunTool, WhatAToolShowsIsInNoResult) {
  ToolSpec spec;
  spec.argv = {"sh", "-c", "echo out; echo err >&2; exit 4"};
  spec.shows_all = true;
  testing::internal::CaptureStderr();
  const auto out = run_tool(spec);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "out\nerr\n");
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().text, "sh failed with exit status 4");
}

TEST_F(RunTool, AnotherUserHasNothingOfRoots) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes another user";
  ::setenv("SECRET", "of ours", 1);
  ToolSpec spec;
  spec.user = 61'234;
  spec.working_directory = scratch_;
  std::filesystem::permissions(scratch_, std::filesystem::perms::owner_all);
  write(scratch_ / "input", "lent");
  const auto input = open_path(scratch_ / "input", O_RDONLY);
  ASSERT_TRUE(input);
  spec.input = input->get();
  spec.argv = {"sh", "-c",
               "echo $(id -u) $(id -g) $(id -G) \"[$SECRET]\" $(cat);"
               "grep -E '^(CapPrm|CapEff|NoNewPrivs):' /proc/self/status; touch new 2>&1 || echo closed"};
  const auto out = run_tool(spec);
  ::unsetenv("SECRET");
  ASSERT_TRUE(out) << out.error().text;
  EXPECT_TRUE(
      out->starts_with("61234 61234 61234 [] lent\n"
                       "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n"))
      << *out;
  EXPECT_TRUE(out->ends_with("closed\n")) << *out;
}

TEST_F(RunTool, WhoSeesItsInputOnlySeesNothingElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes another user";
  constexpr unsigned kUser = 61'234;
  std::filesystem::permissions(scratch_, std::filesystem::perms::owner_all);
  write(scratch_ / "input", "lent\n");
  const auto input = open_path(scratch_ / "input", O_RDWR);
  ASSERT_TRUE(input);
  ASSERT_EQ(::fchown(input->get(), kUser, kUser), 0);
  ASSERT_EQ(::fchmod(input->get(), 0600), 0);
  // As a shell leaves one open for its own ends; dash knows numbers of one digit.
  const UniqueFd stray(::fcntl(open_path("/", O_PATH | O_DIRECTORY)->get(), F_DUPFD, 6));
  ASSERT_TRUE(stray && stray.get() <= 9);
  ToolSpec spec;
  spec.user = kUser;
  spec.sees_input_only = true;
  spec.input = input->get();
  spec.argv = {"sh", "-c",
               "for fd in 3 4 5 6 7 8 9; do"
               "  (eval \": <&$fd\") 2>&- && echo has descriptor $fd; done;"
               "cat /proc/self/fd/0; echo more >> /proc/self/fd/0; ls /etc /proc /proc/self;"
               "for path in /etc/passwd /tmp /var /root /home /dev/null /proc/1 /sys /run; do"
               "  [ -e $path ] && echo $path is in view; done;"
               "for path in / /usr /usr/bin /etc /proc/self/fd; do"
               "  touch $path/new 2>&- && echo $path can be written; done;"
               "ln /proc/self/fd/0 /usr/link 2>&- && echo linked; echo $(id -u)"};
  const auto out = run_tool(spec);
  ASSERT_TRUE(out) << out.error().text;
  if (out->find("/etc/passwd is in view") != std::string::npos) GTEST_SKIP() << "no namespaces here";
  EXPECT_TRUE(out->starts_with("lent\n/etc:\n")) << *out;
  EXPECT_TRUE(out->ends_with("/proc/self:\nfd\n61234\n")) << *out;
  EXPECT_EQ(read_file(scratch_ / "input", 100).value_or(""), "lent\nmore\n");
}

/// As in a chroot, or an initramfs: of a root that is no mount of its own none can be made.
bool enter_plain_root(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return false;
  for (const auto& entry : fs::directory_iterator("/")) {
    const fs::path place = root / entry.path().filename();
    if (entry.is_symlink()) {
      fs::copy_symlink(entry.path(), place);
    } else if (entry.is_directory()) {
      fs::create_directory(place);
      if (::mount(entry.path().c_str(), place.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) return false;
    }
  }
  return ::chroot(root.c_str()) == 0 && ::chdir("/usr") == 0;
}

TEST_F(RunTool, WhereNoViewCanBeMadeItSeesWhatItsUserDoes) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes another user";
  write(scratch_ / "input", "lent\n");
  std::filesystem::create_directory(scratch_ / "root");
  const pid_t child = ::fork();
  if (child == 0) {
    if (!enter_plain_root(scratch_ / "root")) ::_exit(77);
    const auto input = open_path(scratch_ / "input", O_RDONLY);
    if (!input) ::_exit(2);
    ToolSpec spec;
    spec.user = 61'234;
    spec.sees_input_only = true;
    spec.input = input->get();
    spec.argv = {"sh", "-c", "cat; pwd; [ -e /proc/self/status ] && [ -e /etc/passwd ] && echo all; id -u"};
    const auto out = run_tool(spec);
    std::cerr << (out ? *out : out.error().describe()) << '\n';
    ::_exit(out && *out == "lent\n/usr\nall\n61234\n" ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no mounts here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(RunTool, AStatusThatIsAskedForIsNoError) {
  ToolSpec spec;
  int status = -1;
  std::string said;
  spec.messages = &said;
  spec.argv = {"sh", "-c", "echo out; echo why >&2; exit 5"};
  spec.exit_status = &status;
  EXPECT_EQ(run_tool(spec).value_or(""), "out\n");
  EXPECT_EQ(status, 5);
  EXPECT_EQ(said, "why");
  spec.argv = {"sh", "-c", "kill -KILL $$"};
  EXPECT_FALSE(run_tool(spec)) << "no status of its own";
}

TEST_F(RunTool, ItsInputIsWhatItIsGiven) {
  ToolSpec spec;
  spec.argv = {"cat"};
  EXPECT_EQ(run_tool(spec).value_or("?"), "") << "else nothing";
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "in", 2), 2);
  ::close(ends[1]);
  spec.input = ends[0];
  EXPECT_EQ(run_tool(spec).value_or("?"), "in");
  ::close(ends[0]);
}

TEST_F(RunTool, AMissingProgramIsNamed) {
  const auto out = run_tool({"no-such-program-here"});
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, ENOENT);
  EXPECT_NE(out.error().text.find("no-such-program-here"), std::string::npos);
}

TEST_F(RunTool, ADeathBySignalIsAnError) {
  const auto out = run_tool({"sh", "-c", "kill -9 $$"});
  ASSERT_FALSE(out);
  EXPECT_NE(out.error().text.find("signal 9"), std::string::npos);
}

TEST_F(RunTool, WritesToAFileInTheDirectoryAsked) {
  ToolSpec spec;
  spec.argv = {"sh", "-c", "pwd; read -r line; echo \"[$line]\""};
  spec.working_directory = scratch_;
  spec.output_file = scratch_ / "out";
  ASSERT_TRUE(run_tool(spec));
  EXPECT_EQ(read(scratch_ / "out"), scratch_.string() + "\n[]\n") << "standard input must be empty";
}

TEST_F(RunTool, ManyBytesOnBothPipesDoNotBlock) {
  const auto out = run_tool({"sh", "-c", "head -c 3000000 /dev/zero | tee /dev/stderr"});
  ASSERT_TRUE(out);
  EXPECT_EQ(out->size(), 3'000'000U);
}

TEST_F(RunTool, AnInterruptKillsTheToolAndItsChildren) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const InterruptScope scope;
    ToolSpec spec;
    // The tool's own child would create the mark if it outlived the interrupt.
    spec.argv = {"sh", "-c", "sh -c 'kill -INT " + std::to_string(::getpid()) + "; sleep 600' & wait"};
    const auto out = run_tool(spec);
    if (out || out.error().code != EINTR) ::_exit(1);
    if (InterruptScope::check()) ::_exit(2);
    ::signal(SIGINT, SIG_IGN);  // or the scope's end would end us
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

/// There are no pipes whose end would be waited for.
TEST_F(RunTool, AnInterruptEndsAToolThatShowsAllToo) {
  const auto begun = std::chrono::steady_clock::now();
  const pid_t pid = ::fork();
  if (pid == 0) {
    const InterruptScope scope;
    ToolSpec spec;
    spec.argv = {"sleep", "60"};
    spec.shows_all = true;
    spec.on_start = [](pid_t) { ::kill(::getpid(), SIGTERM); };
    const auto out = run_tool(spec);
    ::_exit(!out && out.error().code == EINTR ? 7 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(30));
}

TEST_F(RunTool, AToolThatClearsUpHasTheTimeForIt) {
  const auto mark = scratch_ / "cleared";
  const pid_t pid = ::fork();
  if (pid == 0) {
    const InterruptScope scope;
    ToolSpec spec;
    const std::string us = std::to_string(::getpid());
    spec.argv = {"sh", "-c",
                 "trap 'touch " + mark.string() + "; exit' TERM; kill -INT " + us + "; sleep 60 & wait"};
    spec.shows_all = true;
    spec.patience = std::chrono::seconds(20);
    ::_exit(run_tool(spec) ? 1 : 7);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_TRUE(std::filesystem::exists(mark));
}

TEST_F(RunTool, TheInterruptIsDeliveredWhenTheScopeEnds) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    {
      const InterruptScope scope;
      ::raise(SIGTERM);
      if (InterruptScope::check()) ::_exit(1);
    }
    ::_exit(2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

}  // namespace
}  // namespace layerboot::launcher
