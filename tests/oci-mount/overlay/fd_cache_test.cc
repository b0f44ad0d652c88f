#include "oci-mount/overlay/fd_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace layerboot::overlay {
namespace {

UniqueFd any_fd() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(FdCacheTest, NeverHoldsMoreThanItsBound) {
  FdCache cache;
  for (NodeId id = 1; id <= FdCache::kMaxOpen * 3; ++id) {
    cache.put(id, any_fd());
    EXPECT_LE(cache.size(), FdCache::kMaxOpen);
  }
  EXPECT_EQ(cache.size(), FdCache::kMaxOpen);
  EXPECT_EQ(cache.get(1), nullptr);
  EXPECT_NE(cache.get(FdCache::kMaxOpen * 3), nullptr);
}

TEST(FdCacheTest, TheLeastRecentlyUsedGoesFirst) {
  FdCache cache;
  for (NodeId id = 1; id <= FdCache::kMaxOpen; ++id) cache.put(id, any_fd());
  EXPECT_NE(cache.get(1), nullptr);  // used: now 2 is the oldest
  cache.put(1000, any_fd());
  EXPECT_NE(cache.get(1), nullptr);
  EXPECT_EQ(cache.get(2), nullptr);
  EXPECT_NE(cache.get(3), nullptr);
}

TEST(FdCacheTest, ADescriptorInUseSurvivesTheDrop) {
  FdCache cache;
  FdCache::Fd held = cache.put(1, any_fd());
  const int number = held->get();
  cache.drop(1);
  EXPECT_EQ(cache.get(1), nullptr);
  EXPECT_TRUE(is_open(number));
  held.reset();
  EXPECT_FALSE(is_open(number));
  held = cache.put(2, any_fd());
  for (NodeId id = 3; id < 3 + FdCache::kMaxOpen; ++id) cache.put(id, any_fd());
  EXPECT_EQ(cache.get(2), nullptr);
  EXPECT_TRUE(is_open(held->get()));
}

TEST(FdCacheTest, PutReplacesAndClearClosesAll) {
  FdCache cache;
  const int first = cache.put(1, any_fd())->get();
  const UniqueFd keeps_the_number_taken = any_fd();
  const FdCache::Fd second = cache.put(1, any_fd());
  EXPECT_EQ(cache.get(1), second);
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_FALSE(is_open(first));
  cache.clear();
  EXPECT_EQ(cache.size(), 0U);
  cache.drop(1);  // unknown: nothing happens
}

}  // namespace
}  // namespace layerboot::overlay
