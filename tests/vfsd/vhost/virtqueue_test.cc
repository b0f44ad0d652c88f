#include "vfsd/vhost/virtqueue.h"

#include <gtest/gtest.h>

#include "tests/vfsd/vhost/ring_fixture.h"

namespace layerboot::vfsd::vhost {
namespace {

class VirtqueueTest : public testing::TestWithParam<bool> {  // EVENT_IDX
 protected:
  VirtqueueTest() : ring(8, GetParam()), device(ring.rings(), GetParam(), 0) {}

  test::FakeQueue::Request offer() {
    auto request = *ring.driver->prepare(std::vector<std::byte>(40), 16);
    ring.driver->offer(request.head);
    return request;
  }
  Virtqueue::Pop pop() { return *device.pop(chain, &why); }

  RingFixture ring;
  Virtqueue device;
  Chain chain;
  Error why;
};

INSTANTIATE_TEST_SUITE_P(EventIdx, VirtqueueTest, testing::Bool());

TEST_P(VirtqueueTest, GoesAroundMoreThanOnce) {
  for (unsigned i = 0; i < 70'000; ++i) {  // past the wrap of the 16-bit indexes
    const auto request = offer();
    ASSERT_EQ(pop(), Virtqueue::Pop::kChain);
    ASSERT_EQ(pop(), Virtqueue::Pop::kEmpty);
    device.push(chain.head, i % 17);
    ASSERT_GT(device.unpublished(), 0U);
    (void)device.publish();
    ASSERT_EQ(device.unpublished(), 0U);
    ASSERT_TRUE(ring.driver->is_done(request));
    ASSERT_EQ(ring.driver->last_used_length(request.head), i % 17);
    ring.driver->abandon(request);
  }
}

TEST_P(VirtqueueTest, PublishesABatchAtOnce) {
  const auto first = offer();
  const auto second = offer();
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(pop(), Virtqueue::Pop::kChain);
    device.push(chain.head, 16);
  }
  EXPECT_FALSE(ring.driver->is_done(first)) << "nothing is visible before publish()";
  EXPECT_TRUE(device.publish()) << "the first time, the guest is told in any case";
  EXPECT_TRUE(ring.driver->is_done(first));
  EXPECT_TRUE(ring.driver->is_done(second));
}

TEST_P(VirtqueueTest, EnablingKicksSeesWhatArrivedBefore) {
  device.disable_kicks();
  EXPECT_FALSE(device.enable_kicks());
  device.disable_kicks();
  offer();
  EXPECT_TRUE(device.enable_kicks()) << "a request that the guest may not have kicked for";
  EXPECT_EQ(pop(), Virtqueue::Pop::kChain);
  EXPECT_FALSE(device.enable_kicks());
}

TEST_P(VirtqueueTest, RefusesARingThatMakesNoSense) {
  ring.driver->set_available_index(9);  // more than the queue has
  EXPECT_FALSE(device.pop(chain, &why));
  Virtqueue other(ring.rings(), GetParam(), 9);
  ring.driver->offer(8);  // a head beyond the table
  EXPECT_FALSE(other.pop(chain, &why));
}

TEST_P(VirtqueueTest, GivesABadChainBackAndGoesOn) {
  auto request = *ring.driver->prepare(std::vector<std::byte>(40), 16);
  ring.driver->descriptor(request.head) = {1, 1, 0, 0};
  ring.driver->offer(request.head);
  offer();
  EXPECT_EQ(pop(), Virtqueue::Pop::kBadChain);
  EXPECT_EQ(chain.head, request.head);
  EXPECT_FALSE(why.describe().empty());
  EXPECT_EQ(pop(), Virtqueue::Pop::kChain);
}

TEST_P(VirtqueueTest, TakesTheUsedIndexFromTheGuest) {
  const auto request = offer();
  ASSERT_EQ(pop(), Virtqueue::Pop::kChain);
  device.push(chain.head, 1);
  (void)device.publish();
  Virtqueue again(ring.rings(), GetParam(), device.next_available());
  const auto second = offer();
  ASSERT_EQ(*again.pop(chain, &why), Virtqueue::Pop::kChain);
  again.push(chain.head, 2);
  EXPECT_TRUE(again.publish());
  EXPECT_EQ(ring.driver->used_index(), 2);
  EXPECT_TRUE(ring.driver->is_done(request));
  EXPECT_TRUE(ring.driver->is_done(second));
}

TEST(Virtqueue, TellsTheGuestOnlyWhenItPassesItsEvent) {
  RingFixture ring(8, true);
  Virtqueue device(ring.rings(), true, 0);
  const auto one_more = [&] {
    device.push(0, 0);
    return device.publish();
  };
  auto* used_event = reinterpret_cast<std::uint16_t*>(ring.rings().available + used_event_offset(8));
  EXPECT_TRUE(one_more());  // 1
  *used_event = 3;
  EXPECT_FALSE(one_more());  // 2
  EXPECT_FALSE(one_more());  // 3
  EXPECT_TRUE(one_more());   // 4 passes 3
  EXPECT_FALSE(one_more());
}

TEST(Virtqueue, HonoursNoInterruptWithoutEventIdx) {
  RingFixture ring(8, false);
  Virtqueue device(ring.rings(), false, 0);
  device.push(0, 0);
  EXPECT_TRUE(device.publish());
  *reinterpret_cast<std::uint16_t*>(ring.rings().available) = kAvailNoInterrupt;
  device.push(0, 0);
  EXPECT_FALSE(device.publish());
}

TEST(Rings, RefusesBadSizesAndPlaces) {
  const RingFixture ring(8);
  const auto base = RingFixture::kGuest;
  for (const std::uint32_t size : {0U, 3U, 65536U, ~0U}) {
    EXPECT_FALSE(Rings::locate(ring.memory, size, base, base + 4096, base + 8192)) << size;
  }
  EXPECT_FALSE(Rings::locate(ring.memory, 8, base + 8, base + 4096, base + 8192))
      << "descriptors not aligned";
  EXPECT_FALSE(Rings::locate(ring.memory, 8, base, base + 4097, base + 8192)) << "available not aligned";
  EXPECT_FALSE(Rings::locate(ring.memory, 8, base, base + 4096, base + 8194)) << "used not aligned";
  EXPECT_FALSE(Rings::locate(ring.memory, 8, base - 64, base + 4096, base + 8192)) << "outside memory";
  EXPECT_FALSE(Rings::locate(ring.memory, 8, base, base + 4096, base + RingFixture::kBytes - 16))
      << "over its end";
  EXPECT_TRUE(Rings::locate(ring.memory, 32768, base, base + (1 << 20), base + (2 << 20)));
}

}  // namespace
}  // namespace layerboot::vfsd::vhost
