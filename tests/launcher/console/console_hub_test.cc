#include "launcher/console/console_hub.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher/host/unix_socket.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

class ConsoleHubTest : public testing::Test {
 protected:
  void SetUp() override {
    auto guest = socket_pair();
    ASSERT_TRUE(guest);
    guest_ = std::move(guest->second);
    auto log = ConsoleLog::create(scratch_.path() / "log");
    ASSERT_TRUE(log);
    log_.emplace(*std::move(log));
    hub_ = std::make_unique<ConsoleHub>(io_, std::move(guest->first), &*log_);
    hub_->on_closed([this] { closed_ = true; });
    hub_->start();
  }
  UniqueFd client(ConsoleHub::Role role) {
    auto ends = socket_pair();
    EXPECT_TRUE(ends);
    EXPECT_TRUE(hub_->attach(std::move(ends->first), role));
    return std::move(ends->second);
  }
  void poll() {
    io_.restart();
    io_.poll();
  }
  void say(const UniqueFd& fd, std::string_view text) {
    ASSERT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    poll();
  }
  /// What waits to be read; "(end)" at the end.
  static std::string hear(const UniqueFd& fd) {
    std::string text;
    char chunk[65536];
    for (;;) {
      const ssize_t got = ::recv(fd.get(), chunk, sizeof(chunk), MSG_DONTWAIT);
      if (got == 0) return text + "(end)";
      if (got < 0) return text;
      text.append(chunk, static_cast<std::size_t>(got));
    }
  }

  ScratchDir scratch_;
  boost::asio::io_context io_{1};
  UniqueFd guest_;
  std::optional<ConsoleLog> log_;
  std::unique_ptr<ConsoleHub> hub_;
  bool closed_ = false;
};

TEST_F(ConsoleHubTest, AllSeeAndThoseWhoMayType) {
  const UniqueFd terminal = client(ConsoleHub::Role::kPrimary);
  const UniqueFd other = client(ConsoleHub::Role::kTyping);
  const UniqueFd reader = client(ConsoleHub::Role::kReading);
  say(guest_, "login: ");
  for (const UniqueFd* one : {&terminal, &other, &reader}) EXPECT_EQ(hear(*one), "login: ");
  say(terminal, "ro");
  say(other, "ot\n");
  say(reader, "rm -rf /\n");
  EXPECT_EQ(hear(guest_), "root\n");
  EXPECT_EQ(scratch_.read("log"), "login: ");
}

TEST_F(ConsoleHubTest, TheEndComesToAllWithTheLastWords) {
  const UniqueFd terminal = client(ConsoleHub::Role::kPrimary);
  const UniqueFd reader = client(ConsoleHub::Role::kReading);
  ASSERT_EQ(::send(guest_.get(), "bye", 3, 0), 3);
  guest_.reset();
  poll();
  EXPECT_TRUE(closed_);
  EXPECT_EQ(hear(terminal), "bye(end)");
  EXPECT_EQ(hear(reader), "bye(end)");
}

TEST_F(ConsoleHubTest, OneWhoLeavesDisturbsNobody) {
  UniqueFd gone = client(ConsoleHub::Role::kTyping);
  const UniqueFd stays = client(ConsoleHub::Role::kReading);
  gone.reset();
  poll();
  say(guest_, "on");
  EXPECT_EQ(hear(stays), "on");
  EXPECT_FALSE(closed_);
}

TEST_F(ConsoleHubTest, AReaderThatDoesNotReadIsLetGoAndTheGuestGoesOn) {
  const UniqueFd stuck = client(ConsoleHub::Role::kReading);
  const std::string chunk(4096, 'x');
  constexpr std::size_t kEnough = 8 * ConsoleHub::kMaxBehindBytes / 4096;
  for (std::size_t i = 0; i < kEnough; ++i) say(guest_, chunk);
  EXPECT_EQ(log_->size_bytes(), (kEnough * 4096) % (ConsoleLog::kMaxBytes + 1)) << "all of it was read";
  EXPECT_TRUE(hear(stuck).ends_with("(end)"));
}

TEST_F(ConsoleHubTest, TheGuestWaitsForItsTerminal) {
  const UniqueFd terminal = client(ConsoleHub::Role::kPrimary);
  const std::string chunk(4096, 'x');
  std::size_t said = 0;
  // Until the socket to the guest, which nobody empties any more, is full.
  while (::send(guest_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    said += chunk.size();
    ASSERT_LT(said, std::size_t{64} << 20U) << "the guest does not wait";
    poll();
  }
  std::size_t heard = 0;
  for (std::string text = hear(terminal); !text.empty(); text = hear(terminal)) {
    heard += text.size();
    poll();
  }
  EXPECT_GE(heard + chunk.size(), said) << "and nothing is lost";
}

TEST_F(ConsoleHubTest, HasABoundOfClients) {
  std::vector<UniqueFd> clients;
  for (std::size_t i = 0; i < ConsoleHub::kMaxClients; ++i)
    clients.push_back(client(ConsoleHub::Role::kTyping));
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  const auto refused = hub_->attach(std::move(ends->first), ConsoleHub::Role::kTyping);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EBUSY);
}

}  // namespace
}  // namespace layerboot::launcher
