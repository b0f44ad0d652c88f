#include "oci-mount/overlay/burials.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <latch>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace layerboot::overlay {
namespace {

constexpr std::uint64_t kBytes = 1000;

class BurialsTest : public testing::Test {
 protected:
  /// Until free_worker(), the only worker is busy.
  BurialsTest() {
    workers.submit([this] { worker_is_free.wait(); });
  }
  ~BurialsTest() override { free_worker(); }
  void free_worker() {
    if (!std::exchange(is_free, true)) worker_is_free.count_down();
  }
  Burials::Own bury(Burials& burials) {
    auto file = std::make_shared<const UniqueFd>(::eventfd(0, EFD_CLOEXEC));
    buried.push_back(file);
    return burials.add(std::move(file), quota.hold(kBytes));
  }
  [[nodiscard]] std::size_t open() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(buried, [](const auto& fd) { return !fd.expired(); }));
  }
  [[nodiscard]] bool has_room(std::uint64_t bytes) { return quota.reserve(bytes, 0).has_value(); }

  static constexpr std::uint64_t kLimitBytes = 1'000'000;
  std::latch worker_is_free{1};
  bool is_free = false;
  WorkerPool workers{1};
  Quota quota{{.bytes = kLimitBytes, .inodes = 1, .host_floor_bytes = 0}, {}, -1};
  std::vector<std::weak_ptr<const UniqueFd>> buried;
};

TEST_F(BurialsTest, AWorkerFreesThemAndGivesTheirChargesBack) {
  Burials burials(workers);
  EXPECT_EQ(bury(burials), nullptr);
  EXPECT_EQ(bury(burials), nullptr);
  EXPECT_EQ(open(), 2U);
  EXPECT_FALSE(has_room(kLimitBytes - 2 * kBytes + 1));
  EXPECT_TRUE(has_room(kLimitBytes - 2 * kBytes));
  free_worker();
  while (open() > 0) std::this_thread::yield();
  while (burials.finish_one()) {
  }
  EXPECT_TRUE(has_room(kLimitBytes));
}

TEST_F(BurialsTest, BeyondTheBoundWhoBringsOneFreesOneWhenHeHasTheTime) {
  constexpr std::size_t kMore = 20;
  Burials burials(workers);
  std::vector<Burials::Own> own;
  for (std::size_t i = 0; i < Burials::kMost + kMore; ++i) {
    if (auto one = bury(burials); one) own.push_back(std::move(one));
  }
  EXPECT_EQ(own.size(), kMore);
  EXPECT_EQ(open(), Burials::kMost + kMore);
  own.clear();
  EXPECT_EQ(open(), Burials::kMost);
}

TEST_F(BurialsTest, WhoBringsOneMayNeedItsRoomBefore) {
  Burials burials(workers);
  Burials::Own own;
  while (!own) own = bury(burials);
  while (burials.finish_one()) {
  }
  EXPECT_EQ(open(), 0U);
  EXPECT_TRUE(has_room(kLimitBytes));
  own.reset();  // finds nothing
}

TEST_F(BurialsTest, WhatNobodyHasFreedYetDoesNotOutliveThem) {
  Burials::Own own;
  {
    Burials burials(workers);
    while (!own) own = bury(burials);
  }
  EXPECT_EQ(open(), 0U);
}

TEST_F(BurialsTest, WhoNeedsTheRoomFreesThem) {
  Burials burials(workers);
  EXPECT_EQ(bury(burials), nullptr);
  EXPECT_EQ(bury(burials), nullptr);
  EXPECT_TRUE(burials.finish_one());
  EXPECT_EQ(open(), 1U);
  EXPECT_TRUE(burials.finish_one());
  EXPECT_TRUE(has_room(kLimitBytes));
  EXPECT_FALSE(burials.finish_one());
}

TEST_F(BurialsTest, NoneOutlivesThem) {
  {
    Burials burials(workers);
    EXPECT_EQ(bury(burials), nullptr);
  }
  EXPECT_EQ(open(), 0U);
  EXPECT_TRUE(has_room(kLimitBytes));
  free_worker();  // whose job finds nothing
}

}  // namespace
}  // namespace layerboot::overlay
