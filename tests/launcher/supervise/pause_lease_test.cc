#include "launcher/supervise/pause_lease.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "launcher/host/unix_socket.h"

namespace layerboot::launcher {
namespace {

class PauseLeaseTest : public testing::Test {
 protected:
  void SetUp() override {
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    peer_ = std::move(ends->first);
    lease_ = std::make_unique<PauseLease>(
        io_, std::move(ends->second),
        [this](std::string_view command, std::function<void(Result<void>)> done) {
          asked_.emplace_back(command);
          done_.push_back(std::move(done));
        },
        [this] { ++over_; });
  }
  /// All that is ready to happen.
  void settle() {
    io_.restart();
    io_.poll();
  }
  void answer(Result<void> outcome) { std::exchange(done_.back(), nullptr)(std::move(outcome)); }
  std::string heard() {
    std::array<char, 256> piece{};
    const auto got = ::recv(peer_.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    return got > 0 ? std::string(piece.data(), static_cast<std::size_t>(got)) : "";
  }

  boost::asio::io_context io_{1};
  UniqueFd peer_;
  std::vector<std::string> asked_;
  std::vector<std::function<void(Result<void>)>> done_;
  int over_ = 0;
  std::unique_ptr<PauseLease> lease_;
};

using Asked = std::vector<std::string>;

TEST_F(PauseLeaseTest, ThePeersEndLetsItGoOn) {
  EXPECT_EQ(asked_, Asked{"stop"});
  settle();
  EXPECT_EQ(heard(), "") << "it does not stand still yet";
  answer({});
  EXPECT_EQ(heard(), "{\"state\":\"paused\"}\n");
  settle();
  EXPECT_EQ(asked_, Asked{"stop"});
  ASSERT_EQ(::shutdown(peer_.get(), SHUT_WR), 0);
  settle();
  EXPECT_EQ(asked_, (Asked{"stop", "cont"}));
  EXPECT_EQ(over_, 0);
  answer({});
  EXPECT_EQ(heard(), "{\"state\":\"running\"}\n");
  EXPECT_EQ(over_, 1);
}

TEST_F(PauseLeaseTest, APeerThatIsGoneLetsItGoOn) {
  answer({});
  peer_.reset();
  settle();
  EXPECT_EQ(asked_, (Asked{"stop", "cont"}));
  answer({});
  EXPECT_EQ(over_, 1);
}

TEST_F(PauseLeaseTest, OneThatIsGoneBeforeItStandsStillToo) {
  peer_.reset();
  settle();
  EXPECT_EQ(asked_, Asked{"stop"});
  answer({});
  EXPECT_EQ(asked_, (Asked{"stop", "cont"}));
  answer({});
  EXPECT_EQ(over_, 1);
}

TEST_F(PauseLeaseTest, BrokenOffThePeerHearsWhy) {
  lease_->break_off("enough");
  EXPECT_EQ(asked_, Asked{"stop"});
  answer({});
  EXPECT_EQ(asked_, (Asked{"stop", "cont"}));
  lease_->break_off("again");
  answer({});
  EXPECT_EQ(heard(), "{\"error\":\"enough\"}\n");
  EXPECT_EQ(over_, 1);
}

TEST_F(PauseLeaseTest, WhatQemuRefusesIsTold) {
  answer(fail(EIO, "no"));
  EXPECT_EQ(heard(), "{\"error\":\"no\"}\n");
  EXPECT_EQ(over_, 1);
  peer_.reset();
  settle();
  EXPECT_EQ(asked_, Asked{"stop"}) << "there is nothing to let go on";
}

TEST_F(PauseLeaseTest, AnAnswerAfterItsEndIsNobodys) {
  const auto late = std::exchange(done_.back(), nullptr);
  lease_.reset();
  late({});
  EXPECT_EQ(asked_, Asked{"stop"});
  EXPECT_EQ(over_, 0);
}

}  // namespace
}  // namespace layerboot::launcher
