// A guest that is to stand still, and does what it wants.
#include "launcher/agent/guest_still.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "launcher/host/unix_socket.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using guest_init::FrameType;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Answers whoever connects with `said`, every few milliseconds until it goes.
class RestlessGuest {
 public:
  RestlessGuest(const std::filesystem::path& path, std::string said) : said_(std::move(said)) {
    auto listener = listen_at(path);
    EXPECT_TRUE(listener);
    listener_ = std::move(*listener);
    ::fcntl(listener_.get(), F_SETFL, 0);
    thread_ = std::thread([this] { answer(); });
  }
  ~RestlessGuest() {
    over_ = true;
    thread_.join();
  }
  RestlessGuest(const RestlessGuest&) = delete;
  RestlessGuest& operator=(const RestlessGuest&) = delete;

 private:
  void answer() const {
    const UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const auto enough = steady_clock::now() + std::chrono::seconds(20);
    while (!over_ && steady_clock::now() < enough &&
           ::send(client.get(), said_.data(), said_.size(), MSG_NOSIGNAL) > 0)
      std::this_thread::sleep_for(milliseconds(20));
  }

  std::string said_;
  UniqueFd listener_;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

TEST(GuestStill, DoesNotWaitForOneThatOnlyKeepsTalking) {
  const ScratchDir scratch;
  std::string credit;
  guest_init::append_number(credit, 0, FrameType::kCredit, 1);
  const RestlessGuest guest(scratch.path() / "agent", credit);
  const auto begun = steady_clock::now();
  const auto still = GuestStill::begin(scratch.path() / "agent", milliseconds(500));
  ASSERT_FALSE(still);
  EXPECT_EQ(still.error().code, ETIMEDOUT);
  EXPECT_LT(steady_clock::now() - begun, std::chrono::seconds(15));
}

TEST(GuestStill, GivesTheGuestsReasonAsTheGuests) {
  for (const FrameType type : {FrameType::kError, FrameType::kFailed}) {
    const ScratchDir scratch;
    std::string said;
    guest_init::append_frame(said, 0, type, "1234x\nlayerboot: error: y");
    guest_init::append_number(said, 0, FrameType::kExit, 1);
    const RestlessGuest guest(scratch.path() / "agent", said);
    const auto still = GuestStill::begin(scratch.path() / "agent", milliseconds(60'000));
    ASSERT_FALSE(still);
    EXPECT_EQ(still.error().describe().find('\n'), std::string::npos) << still.error().describe();
  }
}

}  // namespace
}  // namespace layerboot::launcher
