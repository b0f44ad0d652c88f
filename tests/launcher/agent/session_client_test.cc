// One session against an agent that keeps to nothing, at the other end of a socket pair.
#include "launcher/agent/session_client.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <memory>
#include <optional>
#include <string>

#include "launcher/host/unix_socket.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {
namespace {

using guest_init::FrameType;

class ForeignAgent : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    // What is not read is to stay with the session, rather than in the kernel.
    for (const UniqueFd* end : {&ends->first, &ends->second}) {
      const int few = 4096;
      ASSERT_EQ(::setsockopt(end->get(), SOL_SOCKET, SO_SNDBUF, &few, sizeof(few)), 0);
    }
    agent_ = std::move(ends->second);
    ours_ = std::move(ends->first);
    decoder_.accept();
  }
  void start(SessionStdio stdio) {
    client_ = std::make_unique<SessionClient>(io_, std::move(ours_), stdio,
                                              [this](SessionEnd how) { end_ = std::move(how); });
    guest_init::SessionRequest request;
    request.arguments = {"true"};
    ASSERT_TRUE(client_->start(request));
    work();
  }
  void work() {
    io_.restart();
    io_.poll();
  }
  void say(std::string_view bytes) {
    while (!bytes.empty() && !end_) {
      const ssize_t sent = ::send(agent_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
      work();
    }
  }
  void say(FrameType type, std::string_view payload) {
    std::string bytes;
    guest_init::append_frame(bytes, 0, type, payload);
    say(bytes);
  }
  /// All that waits for the agent, whose frames go to `each`. Returns their size.
  template <typename Each>
  std::size_t hear(Each each) {
    std::size_t heard_bytes = 0;
    std::array<char, 16384> piece{};
    for (;;) {
      work();
      const ssize_t got = ::recv(agent_.get(), piece.data(), piece.size(), MSG_DONTWAIT);
      if (got <= 0) return heard_bytes;
      heard_bytes += static_cast<std::size_t>(got);
      decoder_.feed({piece.data(), static_cast<std::size_t>(got)});
      while (const auto frame = decoder_.next()) each(*frame);
    }
  }

  boost::asio::io_context io_{1};
  UniqueFd agent_;
  UniqueFd ours_;
  guest_init::FrameDecoder decoder_;
  std::optional<SessionEnd> end_;
  std::unique_ptr<SessionClient> client_;
};

/// The kernel's share, and a frame that goes beyond.
constexpr std::size_t kMaxHeardBytes = SessionClient::kMaxToGuestBytes + (std::size_t{96} << 10);

TEST_F(ForeignAgent, ThatReadsNothingIsGrantedInFewFrames) {
  const auto nowhere = open_path("/dev/null", O_WRONLY);
  ASSERT_TRUE(nowhere);
  start({.input = -1, .output = nowhere->get(), .error = nowhere->get()});
  constexpr std::size_t kFrames = 30'000;
  for (std::size_t i = 0; i < kFrames; ++i) say(FrameType::kOutput, "x");
  ASSERT_FALSE(end_);
  std::size_t granted_bytes = 0;
  const std::size_t heard_bytes = hear([&](const guest_init::Frame& frame) {
    if (frame.type == FrameType::kCredit)
      granted_bytes += guest_init::decode_number(frame.payload).value_or(0);
  });
  EXPECT_LT(heard_bytes, kMaxHeardBytes);
  EXPECT_EQ(granted_bytes, kFrames) << "and nothing of it is lost";
}

TEST_F(ForeignAgent, ThatReadsNothingMaySayNoMoreThanItWasGranted) {
  const auto nowhere = open_path("/dev/null", O_WRONLY);
  ASSERT_TRUE(nowhere);
  start({.input = -1, .output = nowhere->get(), .error = nowhere->get()});
  for (std::size_t i = 0; i < 200'000 && !end_; ++i) say(FrameType::kOutput, "x");
  ASSERT_TRUE(end_);
  EXPECT_NE(end_->failure.find("granted"), std::string::npos) << end_->failure;
}

TEST_F(ForeignAgent, ThatReadsNothingGetsNoMoreInputForItsCredit) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd input(ends[0]);
  const UniqueFd feed(ends[1]);
  ASSERT_GE(::fcntl(feed.get(), F_SETPIPE_SZ, 1 << 20), 1 << 20);
  const std::string much(1 << 20, 'i');
  ASSERT_EQ(::write(feed.get(), much.data(), much.size()), static_cast<ssize_t>(much.size()));
  start({.input = input.get(), .output = input.get(), .error = input.get()});
  std::string credit;
  guest_init::append_number(credit, 0, FrameType::kCredit, guest_init::kWindowBytes);
  for (int i = 0; i < 100; ++i) say(credit);
  int left_bytes = 0;
  ASSERT_EQ(::ioctl(input.get(), FIONREAD, &left_bytes), 0);
  EXPECT_GT(left_bytes, 1 << 19) << "the rest stays where it is";
}

}  // namespace
}  // namespace layerboot::launcher
