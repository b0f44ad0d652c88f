#include "launcher/console/console.h"

#include <algorithm>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher/host/unix_socket.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

TEST(EscapeDetector, IsThreePressesWithinASecond) {
  const steady_clock::time_point start{};
  EscapeDetector detector;
  EXPECT_FALSE(detector.feed("\x1d", start));
  EXPECT_FALSE(detector.feed("\x1d", start + milliseconds(400)));
  EXPECT_TRUE(detector.feed("\x1d", start + milliseconds(900)));
  EXPECT_FALSE(detector.feed("\x1d\x1d", start + milliseconds(950))) << "the next one is counted anew";
  EXPECT_TRUE(detector.feed("\x1d", start + milliseconds(960)));
}

TEST(EscapeDetector, ForgetsSlowPressesOneByOne) {
  const steady_clock::time_point start{};
  EscapeDetector detector;
  EXPECT_FALSE(detector.feed("\x1d", start));
  EXPECT_FALSE(detector.feed("\x1d", start + milliseconds(900)));
  EXPECT_FALSE(detector.feed("\x1d", start + milliseconds(1100)));
  EXPECT_TRUE(detector.feed("\x1d", start + milliseconds(1200)));
}

TEST(EscapeDetector, AnotherKeyBreaksTheSequence) {
  EscapeDetector detector;
  EXPECT_FALSE(detector.feed("\x1d\x1dx\x1d", {}));
  EXPECT_TRUE(detector.feed("\x1d\x1d", {}));
  EXPECT_TRUE(EscapeDetector().feed("abc\x1d\x1d\x1d", {}));
}

struct Ends {
  UniqueFd read_end;
  UniqueFd write_end;
};

Ends make_pipe() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::string take(int fd) {
  std::array<char, 4096> text{};
  const ssize_t got = ::read(fd, text.data(), text.size());
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

class ConsoleTest : public testing::Test {
 protected:
  void start(int input, int output) {
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    guest_ = std::move(ends->second);
    console_.emplace(io_, std::move(ends->first), input, output,
                     Console::Handlers{.escape = [this] { ++escapes_; }, .closed = [this] { ++closed_; }});
    ASSERT_TRUE(console_->start());
  }
  void settle() {
    io_.restart();
    while (io_.poll() > 0) io_.restart();
  }
  void guest_says(std::string_view text) {
    ASSERT_EQ(::send(guest_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  boost::asio::io_context io_;
  UniqueFd guest_;
  std::optional<Console> console_;
  int escapes_ = 0;
  int closed_ = 0;
};

TEST_F(ConsoleTest, CopiesBothWaysAndTheEndOfInputIsNotTheGuests) {
  Ends input = make_pipe();
  const Ends output = make_pipe();
  start(input.read_end.get(), output.write_end.get());
  EXPECT_FALSE(console_->on_terminal());
  ASSERT_EQ(::write(input.write_end.get(), "ls\n", 3), 3);
  settle();
  EXPECT_EQ(take(guest_.get()), "ls\n");
  input.write_end.reset();
  settle();
  guest_says("still here");
  settle();
  EXPECT_EQ(take(output.read_end.get()), "still here");
  EXPECT_EQ(closed_, 0);
  guest_says("bye");
  guest_.reset();
  settle();
  EXPECT_EQ(take(output.read_end.get()), "bye");
  EXPECT_EQ(closed_, 1);
}

TEST_F(ConsoleTest, TakesRegularFilesWhereTheyStand) {
  const ScratchDir scratch;
  const UniqueFd output(::open((scratch.path() / "out").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(::write(output.get(), "before ", 7), 7);
  const UniqueFd input(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  start(input.get(), output.get());
  guest_says("after");
  guest_.reset();
  settle();
  EXPECT_EQ(closed_, 1);
  console_.reset();
  EXPECT_EQ(scratch.read("out"), "before after");
  EXPECT_EQ(::fcntl(output.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(ConsoleTest, ABrokenOutputStillDrainsTheGuest) {
  Ends output = make_pipe();
  const UniqueFd input(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ::signal(SIGPIPE, SIG_IGN);
  start(input.get(), output.write_end.get());
  output.read_end.reset();
  guest_says("a");
  settle();
  guest_says("b");
  settle();
  guest_.reset();
  settle();
  EXPECT_EQ(closed_, 1);
}

TEST_F(ConsoleTest, ATerminalIsRawBlocksForOthersAndEscapes) {
  int outer = -1;
  int inner = -1;
  ASSERT_EQ(::openpty(&outer, &inner, nullptr, nullptr, nullptr), 0);
  const UniqueFd person(outer);
  const UniqueFd terminal(inner);
  start(terminal.get(), terminal.get());
  EXPECT_TRUE(console_->on_terminal());
  // Ctrl-C is the guest's.
  ASSERT_EQ(::write(person.get(), "\x03\x1d\x1d\x1d", 4), 4);
  settle();
  EXPECT_EQ(take(guest_.get()), "\x03\x1d\x1d\x1d");
  EXPECT_EQ(escapes_, 1);
  EXPECT_EQ(::fcntl(terminal.get(), F_GETFL) & O_NONBLOCK, 0) << "a shell shares this description";
  termios now{};
  ASSERT_EQ(::tcgetattr(terminal.get(), &now), 0);
  EXPECT_EQ(now.c_lflag & ICANON, 0U);
  guest_.reset();
  settle();
  ASSERT_EQ(::tcgetattr(terminal.get(), &now), 0);
  EXPECT_NE(now.c_lflag & ICANON, 0U);
  EXPECT_EQ(closed_, 1);
}

}  // namespace
}  // namespace layerboot::launcher
