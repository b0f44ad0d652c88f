// Who waits for whom while directories are claimed.
#include "oci-mount/overlay/overlay_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "oci-mount/overlay/node.h"

namespace layerboot::overlay {
namespace {

using For = PartLock::For;

class OverlayLockTest : public testing::Test {
 protected:
  /// Another request's claim, until it is ended.
  class OtherClaim {
   public:
    OtherClaim(OverlayLock& lock, Node& directory) {
      thread_ = std::thread([this, &lock, &directory] {
        PartLock part(lock);
        while (!part.may_use(directory, For::kClaiming)) {
        }
        part.with_claim(directory, [this] {
          begun_.set_value();
          end_.get_future().wait();
          return 0;
        });
      });
    }
    ~OtherClaim() { end(); }
    void wait_for_begin() { begun_.get_future().wait(); }
    void end() {
      if (!thread_.joinable()) return;
      end_.set_value();
      thread_.join();
    }

   private:
    std::promise<void> begun_;
    std::promise<void> end_;
    std::thread thread_;
  };

  template <typename T>
  static bool is_still_waiting(const std::future<T>& future) {
    return future.wait_for(std::chrono::milliseconds(50)) == std::future_status::timeout;
  }

  MemoryBudget memory_;
  NodePtr one_ = Node::make(memory_);
  NodePtr other_ = Node::make(memory_);
  OverlayLock lock_;
};

TEST_F(OverlayLockTest, AClaimLeavesOtherDirectoriesToOthers) {
  OtherClaim claim(lock_, *one_);
  claim.wait_for_begin();
  PartLock part(lock_);
  EXPECT_TRUE(part.may_use(*other_, For::kLooking));
  EXPECT_TRUE(part.may_use(*other_, For::kClaiming));
  EXPECT_EQ(part.with_claim(*other_, [] { return 7; }), 7);
}

TEST_F(OverlayLockTest, WhoLooksAtAClaimedDirectoryWaitsAndLooksAgain) {
  OtherClaim claim(lock_, *one_);
  claim.wait_for_begin();
  auto waiter = std::async(std::launch::async, [&] {
    PartLock part(lock_);
    const bool at_once = part.may_use(*one_, For::kLooking);
    return std::pair(at_once, part.may_use(*one_, For::kLooking));
  });
  EXPECT_TRUE(is_still_waiting(waiter));
  claim.end();
  EXPECT_EQ(waiter.get(), std::pair(false, true));
}

TEST_F(OverlayLockTest, TheWholeLockWaitsForClaims) {
  OtherClaim first(lock_, *one_);
  OtherClaim second(lock_, *other_);
  first.wait_for_begin();
  second.wait_for_begin();
  auto whole = std::async(std::launch::async, [&] {
    const std::lock_guard lock(lock_);
    return std::pair(one_->directory.claimed, other_->directory.claimed);
  });
  EXPECT_TRUE(is_still_waiting(whole));
  first.end();
  EXPECT_TRUE(is_still_waiting(whole));
  second.end();
  EXPECT_EQ(whole.get(), std::pair(false, false));
}

TEST_F(OverlayLockTest, NewClaimsWaitForWhoWantsTheWholeLock) {
  OtherClaim first(lock_, *one_);
  first.wait_for_begin();
  std::atomic<bool> had_it = false;
  auto whole = std::async(std::launch::async, [&] {
    const std::lock_guard lock(lock_);
    had_it = true;
  });
  ASSERT_TRUE(is_still_waiting(whole));
  auto claims = std::async(std::launch::async, [&] {
    PartLock part(lock_);
    while (!part.may_use(*other_, For::kClaiming)) {
    }
    return had_it.load();
  });
  EXPECT_TRUE(is_still_waiting(claims));
  {
    PartLock part(lock_);
    EXPECT_TRUE(part.may_use(*other_, For::kLooking)) << "looking takes nothing from it";
  }
  first.end();
  EXPECT_TRUE(claims.get());
}

TEST_F(OverlayLockTest, ClaimsOfOneDirectoryComeOneAfterAnother) {
  constexpr int kThreads = 4;
  constexpr int kTimes = 2000;
  int under_claim = 0;
  int under_whole = 0;
  std::atomic<int> at_once = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kTimes; ++i) {
        {
          PartLock part(lock_);
          while (!part.may_use(*one_, For::kClaiming)) {
          }
          part.with_claim(*one_, [&] {
            EXPECT_EQ(at_once++, 0);
            ++under_claim;
            std::this_thread::yield();
            --at_once;
            return 0;
          });
        }
        if (i % 16 != 0) continue;
        const std::lock_guard lock(lock_);
        EXPECT_EQ(at_once, 0);
        ++under_whole;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(under_claim, kThreads * kTimes);
  EXPECT_EQ(under_whole, kThreads * kTimes / 16);
}

TEST_F(OverlayLockTest, WhoWorksInPiecesGivesWay) {
  constexpr int kMostPieces = 1'000'000;
  std::atomic<bool> had_it = false;
  std::thread other;
  {
    const PartLock part(lock_);
    other = std::thread([&] {
      const std::lock_guard lock(lock_);
      had_it = true;
    });
  }
  int pieces = 0;
  for (; pieces < kMostPieces && !had_it; ++pieces) {
    lock_.give_way();
    const PartLock part(lock_);
  }
  other.join();
  EXPECT_LT(pieces, kMostPieces);
}

// Who waits for claims is woken by the last of them, and comes to the lock later than who works in pieces.
TEST_F(OverlayLockTest, WhoWorksInPiecesGivesWayToWhoWaitedForClaims) {
  constexpr int kMostPieces = 10'000;
  constexpr int kTimes = 20;
  for (int time = 0; time < kTimes; ++time) {
    OtherClaim claim(lock_, *one_);
    claim.wait_for_begin();
    std::atomic<bool> had_it = false;
    std::thread whole([&] {
      const std::lock_guard lock(lock_);
      had_it = true;
    });
    // Whoever waits for the whole lock keeps others from claiming.
    for (bool waits = false; !waits;) {
      std::promise<bool> claims;
      std::thread tries([&] {
        PartLock part(lock_);
        claims.set_value(part.may_use(*other_, For::kClaiming));
      });
      auto may = claims.get_future();
      waits = is_still_waiting(may);
      if (waits) claim.end();
      tries.join();
    }
    int pieces = 0;
    for (; pieces < kMostPieces && !had_it; ++pieces) {
      lock_.give_way();
      const PartLock part(lock_);
    }
    whole.join();
    EXPECT_LT(pieces, kMostPieces);
  }
}

TEST_F(OverlayLockTest, OthersHaveTheLockBesideWhoPauses) {
  PartLock part(lock_);
  const bool had_it = part.beside_others([&] {
    return std::async(std::launch::async,
                      [&] {
                        const std::lock_guard lock(lock_);
                        return true;
                      })
        .get();
  });
  EXPECT_TRUE(had_it);
}

TEST_F(OverlayLockTest, DescriptorsLetGoOfAreClosedAfterTheLock) {
  auto fd = std::make_shared<const UniqueFd>(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = fd->get();
  {
    const std::lock_guard lock(lock_);
    lock_.closing().add(std::move(fd));
    EXPECT_NE(::fcntl(number, F_GETFD), -1);
  }
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

TEST_F(OverlayLockTest, NoMoreDescriptorsWaitThanItsBound) {
  const std::lock_guard lock(lock_);
  for (std::size_t i = 0; i < 3 * Closing::kMost; ++i) {
    lock_.closing().add(std::make_shared<const UniqueFd>(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
  }
  EXPECT_EQ(lock_.closing().take().size(), Closing::kMost);
}

}  // namespace
}  // namespace layerboot::overlay
