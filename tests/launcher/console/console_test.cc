#include "launcher/console/console.h"

#include <algorithm>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
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
  EXPECT_EQ(detector.feed("\x1d", start), Escape::kNone);
  EXPECT_EQ(detector.feed("\x1d", start + milliseconds(400)), Escape::kNone);
  EXPECT_EQ(detector.feed("\x1d", start + milliseconds(900)), Escape::kLeave);
  EXPECT_EQ(detector.feed("\x1d\x1d", start + milliseconds(950)), Escape::kNone)
      << "the next one is counted anew";
  EXPECT_EQ(detector.feed("\x1d", start + milliseconds(960)), Escape::kLeave);
}

TEST(EscapeDetector, ForgetsSlowPressesOneByOne) {
  const steady_clock::time_point start{};
  EscapeDetector detector;
  EXPECT_EQ(detector.feed("\x1d", start), Escape::kNone);
  EXPECT_EQ(detector.feed("\x1d", start + milliseconds(900)), Escape::kNone);
  EXPECT_EQ(detector.feed("\x1d", start + milliseconds(1100)), Escape::kNone);
  EXPECT_EQ(detector.feed("\x1d", start + milliseconds(1200)), Escape::kLeave);
}

TEST(EscapeDetector, AnotherKeyBreaksTheSequence) {
  EscapeDetector detector;
  EXPECT_EQ(detector.feed("\x1d\x1dx\x1d", {}), Escape::kNone);
  EXPECT_EQ(detector.feed("\x1d\x1d", {}), Escape::kLeave);
  EXPECT_EQ(EscapeDetector().feed("abc\x1d\x1d\x1d", {}), Escape::kLeave);
}

TEST(EscapeDetector, TwoPressesAndAnSAreAShell) {
  const steady_clock::time_point start{};
  EXPECT_EQ(EscapeDetector().feed("\x1d\x1ds", start), Escape::kShell);
  EXPECT_EQ(EscapeDetector().feed("\x1ds\x1d\x1dxs", start), Escape::kNone);
  EXPECT_EQ(EscapeDetector().feed("\x1d\x1d\x1ds", start), Escape::kLeave);
  EscapeDetector slow;
  EXPECT_EQ(slow.feed("\x1d\x1d", start), Escape::kNone);
  EXPECT_EQ(slow.feed("s", start + milliseconds(1100)), Escape::kNone);
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
  /// The console on a terminal, at whose other end `person_` sits.
  void start_on_terminal() {
    int outer = -1;
    int inner = -1;
    ASSERT_EQ(::openpty(&outer, &inner, nullptr, nullptr, nullptr), 0);
    person_ = UniqueFd(outer);
    terminal_ = UniqueFd(inner);
    start(terminal_.get(), terminal_.get());
  }
  void start(int input, int output) {
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    guest_ = std::move(ends->second);
    console_.emplace(io_, std::move(ends->first), input, output,
                     Console::Handlers{.escape = [this] { ++escapes_; },
                                       .shell = [this] { ++shells_; },
                                       .interrupt =
                                           [this] {
                                             ++interrupts_;
                                             return keeps_interrupts_;
                                           },
                                       .closed = [this] { ++closed_; }});
    ASSERT_TRUE(console_->start());
  }
  /// A pseudo-terminal hands on what is typed by a work queue of the kernel's.
  void person_types(std::string_view text) {
    ASSERT_EQ(::write(person_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    constexpr int kPatienceMs = 30'000;
    pollfd typed{terminal_.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&typed, 1, kPatienceMs), 1);
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
  UniqueFd person_;
  UniqueFd terminal_;
  std::optional<Console> console_;
  int escapes_ = 0;
  int shells_ = 0;
  int interrupts_ = 0;
  bool keeps_interrupts_ = false;
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
  ASSERT_NO_FATAL_FAILURE(start_on_terminal());
  EXPECT_TRUE(console_->on_terminal());
  // Ctrl-C is the guest's.
  ASSERT_NO_FATAL_FAILURE(person_types("\x03\x1d\x1d\x1d"));
  settle();
  EXPECT_EQ(take(guest_.get()), "\x03\x1d\x1d\x1d");
  EXPECT_EQ(escapes_, 1);
  EXPECT_EQ(::fcntl(terminal_.get(), F_GETFL) & O_NONBLOCK, 0) << "a shell shares this description";
  termios now{};
  ASSERT_EQ(::tcgetattr(terminal_.get(), &now), 0);
  EXPECT_EQ(now.c_lflag & ICANON, 0U);
  guest_.reset();
  settle();
  ASSERT_EQ(::tcgetattr(terminal_.get(), &now), 0);
  EXPECT_NE(now.c_lflag & ICANON, 0U);
  EXPECT_EQ(closed_, 1);
}

TEST_F(ConsoleTest, CtrlCWaitsForWhoIsAskedAboutIt) {
  ASSERT_NO_FATAL_FAILURE(start_on_terminal());
  keeps_interrupts_ = true;
  ASSERT_NO_FATAL_FAILURE(person_types("a\x03"));
  settle();
  ASSERT_NO_FATAL_FAILURE(person_types("b"));
  settle();
  EXPECT_EQ(interrupts_, 1);
  char none = 0;
  EXPECT_EQ(::recv(guest_.get(), &none, 1, MSG_DONTWAIT), -1) << "nothing reaches the guest meanwhile";
  console_->release_typed();
  settle();
  EXPECT_EQ(take(guest_.get()),
            "a\x03"
            "b");
  console_->release_typed();
  keeps_interrupts_ = false;
  ASSERT_NO_FATAL_FAILURE(person_types("\x03"));
  settle();
  EXPECT_EQ(interrupts_, 2);
  EXPECT_EQ(take(guest_.get()), "\x03");
}

TEST_F(ConsoleTest, CtrlCOfNoTerminalIsAByte) {
  const Ends input = make_pipe();
  const Ends output = make_pipe();
  start(input.read_end.get(), output.write_end.get());
  ASSERT_EQ(::write(input.write_end.get(), "\x03", 1), 1);
  settle();
  EXPECT_EQ(interrupts_, 0);
  EXPECT_EQ(take(guest_.get()), "\x03");
}

TEST_F(ConsoleTest, ATerminalThatIsLentKeepsTheGuestGoing) {
  ASSERT_NO_FATAL_FAILURE(start_on_terminal());
  ASSERT_NO_FATAL_FAILURE(person_types("a\x1d\x1ds"));
  settle();
  EXPECT_EQ(shells_, 1);
  EXPECT_EQ(take(guest_.get()), "a\x1d\x1d") << "the key itself is not the guest's";
  console_->lend_terminal();
  termios now{};
  ASSERT_EQ(::tcgetattr(terminal_.get(), &now), 0);
  EXPECT_NE(now.c_lflag & ICANON, 0U) << "as it was";
  // Far more than a socket or a terminal holds.
  const std::string line(1000, 'x');
  for (int i = 0; i < 2000; ++i) {
    guest_says(line);
    settle();
  }
  guest_says("the last");
  settle();
  ASSERT_NO_FATAL_FAILURE(person_types("shell\n"));
  settle();
  EXPECT_EQ(::recv(guest_.get(), &now, sizeof(now), MSG_DONTWAIT), -1) << "what is typed is another's";
  EXPECT_EQ(take(terminal_.get()), "shell\n");
  console_->take_terminal_back();
  std::string shown;
  while (!shown.ends_with("the last")) {
    settle();
    shown += take(person_.get());
    ASSERT_LT(shown.size(), 2 * Console::kMaxMissedBytes);
  }
  ASSERT_NO_FATAL_FAILURE(person_types("b"));
  settle();
  EXPECT_EQ(take(guest_.get()), "b");
}

}  // namespace
}  // namespace layerboot::launcher
