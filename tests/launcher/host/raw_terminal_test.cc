#include "launcher/host/raw_terminal.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {
namespace {

class RawTerminalTest : public testing::Test {
 protected:
  void SetUp() override {
    int outer = -1;
    int inner = -1;
    ASSERT_EQ(::openpty(&outer, &inner, nullptr, nullptr, nullptr), 0);
    outer_ = UniqueFd(outer);
    inner_ = UniqueFd(inner);
    before_ = settings();
    ASSERT_TRUE(cooked(before_));
  }
  [[nodiscard]] termios settings() const {
    termios now{};
    EXPECT_EQ(::tcgetattr(inner_.get(), &now), 0);
    return now;
  }
  static bool cooked(const termios& now) {
    return (now.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG);
  }
  void expect_as_before() const {
    const termios now = settings();
    EXPECT_EQ(now.c_lflag, before_.c_lflag);
    EXPECT_EQ(now.c_iflag, before_.c_iflag);
    EXPECT_EQ(now.c_oflag, before_.c_oflag);
    EXPECT_EQ(now.c_cflag, before_.c_cflag);
  }

  UniqueFd outer_;
  UniqueFd inner_;
  termios before_{};
};

TEST_F(RawTerminalTest, IsRawWhileItLives) {
  {
    auto terminal = RawTerminal::enter(inner_.get());
    ASSERT_TRUE(terminal && *terminal);
    const termios now = settings();
    EXPECT_EQ(now.c_lflag & (ICANON | ECHO | ISIG), 0U);
    EXPECT_EQ(now.c_oflag & OPOST, 0U) << "the guest's own terminal driver decides about line ends";
    const RawTerminal moved = *std::move(*terminal);
    terminal->reset();
    EXPECT_FALSE(cooked(settings())) << "moved from, it must restore nothing";
  }
  expect_as_before();
}

TEST_F(RawTerminalTest, AFaultRestoresToo) {
  for (const int fault : {SIGSEGV, SIGABRT, SIGBUS}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto terminal = RawTerminal::enter(inner_.get());
      ::raise(fault);
      ::_exit(terminal ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), fault) << "the process must still end as it would have";
    expect_as_before();
  }
}

TEST_F(RawTerminalTest, WhatIsNoTerminalIsLeftAlone) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  const auto terminal = RawTerminal::enter(read_end.get());
  ASSERT_TRUE(terminal);
  EXPECT_FALSE(terminal->has_value());
}

}  // namespace
}  // namespace layerboot::launcher
