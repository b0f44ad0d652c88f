#include "oci-mount/overlay/quota.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>

#include <optional>
#include <thread>
#include <vector>

#include "oci-mount/base/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

class QuotaTest : public testing::Test {
 protected:
  Quota make(Quota::Limits limits, Quota::Usage used = {}) { return Quota(limits, used, fd_.get()); }

  test::TempDir directory_;
  UniqueFd fd_{::open(directory_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
};

TEST_F(QuotaTest, BytesOverTheBudgetAreRefused) {
  Quota quota = make({.bytes = 10'000, .inodes = 10});
  const auto most = quota.reserve(10'000, 0);
  ASSERT_TRUE(most);
  const auto more = quota.reserve(1, 0);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, ENOSPC);
  EXPECT_EQ(quota.usage().bytes, 0U);  // set aside is not used
}

TEST_F(QuotaTest, InodesOverTheBudgetAreRefused) {
  Quota quota = make({.bytes = 10'000, .inodes = 2}, {.bytes = 0, .inodes = 1});
  auto last = quota.reserve(0, 1);
  ASSERT_TRUE(last);
  EXPECT_EQ(quota.reserve(0, 1).error().code, ENOSPC);
  EXPECT_TRUE(quota.reserve(100, 0));
}

TEST_F(QuotaTest, AReservationGoesBackWhenItEnds) {
  Quota quota = make({.bytes = 100, .inodes = 1});
  {
    EXPECT_TRUE(quota.reserve(100, 1));
  }
  auto first = quota.reserve(100, 1);
  ASSERT_TRUE(first);
  std::optional<Quota::Reservation> moved(std::move(*first));
  EXPECT_FALSE(quota.reserve(1, 0)) << "moving must not give it back";
  moved.reset();
  auto again = quota.reserve(100, 1);
  ASSERT_TRUE(again);
  *again = Quota::Reservation();
  EXPECT_TRUE(quota.reserve(100, 1)) << "assigning over one gives it back";
}

TEST_F(QuotaTest, SettlesToWhatWasAllocated) {
  Quota quota = make({.bytes = 100'000, .inodes = 10}, {.bytes = 1000, .inodes = 1});
  quota.settle_bytes(0, 8192);
  quota.add_inode();
  EXPECT_EQ(quota.usage().bytes, 9192U);
  EXPECT_EQ(quota.usage().inodes, 2U);
  quota.settle_bytes(8192, 4096);
  quota.remove_inode();
  EXPECT_EQ(quota.usage().bytes, 5096U);
  EXPECT_EQ(quota.usage().inodes, 1U);
  quota.settle_bytes(1 << 20, 0);  // never below nothing
  quota.remove_inode();
  quota.remove_inode();
  EXPECT_EQ(quota.usage().bytes, 0U);
  EXPECT_EQ(quota.usage().inodes, 0U);
}

TEST_F(QuotaTest, HugeRequestsDoNotWrapAround) {
  Quota quota = make({.bytes = UINT64_MAX, .inodes = UINT64_MAX}, {.bytes = 4096, .inodes = 1});
  EXPECT_EQ(quota.reserve(UINT64_MAX, 0).error().code, ENOSPC);
  EXPECT_EQ(quota.reserve(UINT64_MAX - 4096, 0).error().code, ENOSPC);  // the host has not that much
  EXPECT_EQ(quota.reserve(0, UINT64_MAX).error().code, ENOSPC);
}

TEST_F(QuotaTest, OverTheBudgetNothingIsAvailable) {
  const Quota quota = make({.bytes = 100, .inodes = 1}, {.bytes = 5000, .inodes = 7});
  EXPECT_EQ(quota.available().bytes, 0U);
  EXPECT_EQ(quota.available().inodes, 0U);
}

TEST_F(QuotaTest, TheHostsFloorRefusesGrowthOfAnyKind) {
  struct statvfs host{};
  ASSERT_EQ(::statvfs(directory_.path().c_str(), &host), 0);
  const std::uint64_t more_than_free = static_cast<std::uint64_t>(host.f_bavail) * host.f_frsize * 2;
  Quota quota = make({.bytes = UINT64_MAX / 2, .inodes = 100, .host_floor_bytes = more_than_free});
  EXPECT_EQ(quota.reserve(1, 0).error().code, ENOSPC);
  EXPECT_EQ(quota.reserve(0, 1).error().code, ENOSPC);
  EXPECT_EQ(quota.available().bytes, 0U);
}

TEST_F(QuotaTest, RoomIsASixteenthOfTheBudgetOrALittle) {
  constexpr std::uint64_t kMebibyte = 1U << 20U;
  const auto little = Quota::room_in({.bytes = 0, .inodes = 0});
  EXPECT_EQ(little.bytes, kMebibyte);
  EXPECT_EQ(little.inodes, 256U);
  const auto much = Quota::room_in({.bytes = 160 * kMebibyte, .inodes = 16'000});
  EXPECT_EQ(much.bytes, 10 * kMebibyte);
  EXPECT_EQ(much.inodes, 1000U);
}

TEST_F(QuotaTest, WhatMakesRoomMayPassTheBudgetByThatAndNoMore) {
  const Quota::Limits limits{.bytes = 100, .inodes = 1};
  const auto room = Quota::room_in(limits);
  Quota quota = make(limits, {.bytes = 100, .inodes = 1});
  EXPECT_EQ(quota.reserve(1, 0).error().code, ENOSPC);
  const auto all = quota.reserve(room.bytes, room.inodes, Budget::kMakesRoom);
  ASSERT_TRUE(all);
  EXPECT_EQ(quota.reserve(1, 0, Budget::kMakesRoom).error().code, ENOSPC);
  EXPECT_EQ(quota.reserve(0, 1, Budget::kMakesRoom).error().code, ENOSPC);
  quota.settle_bytes(0, room.bytes + 1);
  EXPECT_TRUE(quota.is_over());
  EXPECT_EQ(quota.reserve(0, 0, Budget::kMakesRoom).error().code, ENOSPC) << "not even a name";
}

TEST_F(QuotaTest, NoLimitHasRoomWithoutWrappingAround) {
  constexpr std::uint64_t kHalf = UINT64_MAX / 2;
  Quota quota = make({.bytes = UINT64_MAX, .inodes = UINT64_MAX}, {.bytes = kHalf, .inodes = kHalf});
  EXPECT_TRUE(quota.reserve(1, 1, Budget::kMakesRoom));
}

TEST_F(QuotaTest, WhatMakesRoomDoesNotPassTheHostsFloor) {
  struct statvfs host{};
  ASSERT_EQ(::statvfs(directory_.path().c_str(), &host), 0);
  const std::uint64_t more_than_free = static_cast<std::uint64_t>(host.f_bavail) * host.f_frsize * 2;
  Quota quota = make({.bytes = 100, .inodes = 1, .host_floor_bytes = more_than_free});
  EXPECT_EQ(quota.reserve(0, 0, Budget::kMakesRoom).error().code, ENOSPC);
}

TEST_F(QuotaTest, ManyThreadsNeverReserveMoreThanThereIs) {
  constexpr std::uint64_t kPieces = 64;
  Quota quota = make({.bytes = kPieces * 4096, .inodes = kPieces});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = 0; i < kPieces; ++i) {
        auto reserved = quota.reserve(4096, 1);
        if (!reserved) continue;
        quota.settle_bytes(0, 4096);
        quota.add_inode();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(quota.usage().bytes, kPieces * 4096);
  EXPECT_LE(quota.usage().inodes, kPieces);
  while (quota.reserve(4096, 1)) {
    quota.settle_bytes(0, 4096);
    quota.add_inode();
  }
  EXPECT_EQ(quota.usage().bytes, kPieces * 4096) << "nothing stays reserved";
}

}  // namespace
}  // namespace layerboot::overlay
