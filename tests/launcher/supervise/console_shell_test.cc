#include "launcher/supervise/console_shell.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>

#include "launcher/host/unix_socket.h"

namespace layerboot::launcher {
namespace {

/// A person at a terminal, which is standard input, and a guest that takes what it is sent and answers
/// nothing.
class ConsoleShellTest : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    int outer = -1;
    int inner = -1;
    ASSERT_EQ(::openpty(&outer, &inner, nullptr, nullptr, nullptr), 0);
    person_ = UniqueFd(outer);
    ASSERT_EQ(::fcntl(outer, F_SETFL, O_NONBLOCK), 0);
    saved_ = UniqueFd(::dup(STDIN_FILENO));
    ASSERT_EQ(::dup2(inner, STDIN_FILENO), STDIN_FILENO);
    terminal_ = UniqueFd(inner);
    auto line = socket_pair();
    auto agent = socket_pair();
    ASSERT_TRUE(line && agent);
    guest_ = std::move(line->second);
    agent_ = std::move(agent->second);
    console_.emplace(io_, std::move(line->first), terminal_.get(), terminal_.get(),
                     Console::Handlers{.escape = [this] { ++escapes_; }, .shell = {}, .closed = {}});
    ASSERT_TRUE(console_->start());
    shell_.emplace(io_, *console_, terminal_.get(), terminal_.get(), [this] { ++over_; });
    ASSERT_TRUE(shell_->start(std::move(agent->first)));
  }
  void TearDown() override {
    shell_.reset();
    console_.reset();
    ::dup2(saved_.get(), STDIN_FILENO);
  }
  /// A terminal hands on what is typed by a thread of the kernel's, and so some time later.
  void type(std::string_view text) {
    until([&] {
      const ssize_t put = ::write(person_.get(), text.data(), text.size());
      text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(put, 0)));
      return text.empty();
    });
  }
  template <typename Happened>
  void until(Happened happened) {
    const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!happened()) {
      ASSERT_LT(std::chrono::steady_clock::now(), late);
      io_.restart();
      io_.run_for(std::chrono::milliseconds(5));
    }
  }
  /// All that was shown so far.
  const std::string& shown() {
    std::array<char, 4096> text{};
    const ssize_t got = ::read(person_.get(), text.data(), text.size());
    shown_.append(text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return shown_;
  }
  std::string at_console() const {
    std::array<char, 16> text{};
    const ssize_t got = ::recv(guest_.get(), text.data(), text.size(), MSG_DONTWAIT);
    return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
  }

  boost::asio::io_context io_;
  UniqueFd person_;
  UniqueFd terminal_;
  UniqueFd saved_;
  UniqueFd guest_;
  UniqueFd agent_;
  std::optional<Console> console_;
  std::optional<ConsoleShell> shell_;
  std::string shown_;
  int over_ = 0;
  int escapes_ = 0;
};

TEST_F(ConsoleShellTest, APersonCanLeaveAGuestThatHangs) {
  until([&] { return shown().find("Ctrl-] three times") != std::string::npos; });
  type("ls\n\x1d\x1dx");
  io_.run_for(std::chrono::milliseconds(50));
  EXPECT_EQ(over_, 0);
  type("\x1d\x1d\x1d");
  until([&] { return over_ == 1; });
  until([&] { return shown().find("back at the VM's console") != std::string::npos; });
  EXPECT_EQ(escapes_, 0) << "the VM goes on";
  type("x");
  std::string said;
  until([&] { return !(said = at_console()).empty(); });
  EXPECT_EQ(said, "x") << "the console has its terminal again";
}

TEST_F(ConsoleShellTest, TheWayOutIsThereWhenTheGuestTakesNoMore) {
  // More than the guest has said that it takes.
  const std::string line(1000, 'x');
  for (int i = 0; i < 80; ++i) type(line);
  type("\x1d\x1d\x1d");
  until([&] { return over_ == 1; });
}

}  // namespace
}  // namespace layerboot::launcher
