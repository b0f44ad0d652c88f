#include "vfsd/vhost/chain.h"

#include <gtest/gtest.h>

#include "oci-mount/base/io_slices.h"
#include "tests/vfsd/vhost/ring_fixture.h"

namespace layerboot::vfsd::vhost {
namespace {

constexpr std::uint64_t kData = RingFixture::kGuest + (1 << 20);

class ChainTest : public testing::Test {
 protected:
  Result<void> read(std::uint16_t head) { return read_chain(*ring.memory, ring.table(), head, chain); }
  /// Puts a table of `descriptors` into memory; gives its address.
  std::uint64_t table(std::initializer_list<Descriptor> descriptors) {
    auto* where =
        reinterpret_cast<Descriptor*>(ring.driver->allocate(descriptors.size() * sizeof(Descriptor)));
    std::copy(descriptors.begin(), descriptors.end(), where);
    return ring.driver->guest_address_of(reinterpret_cast<std::byte*>(where));
  }
  Descriptor& at(std::size_t index) { return ring.driver->descriptor(index); }

  RingFixture ring{16};
  Chain chain;
};

TEST_F(ChainTest, ReadsADirectChainAndJoinsNeighbours) {
  at(3) = {kData, 100, kDescriptorNext, 5};
  at(5) = {kData + 100, 28, kDescriptorNext, 1};
  at(1) = {kData + 4096, 16, kDescriptorNext | kDescriptorWrite, 2};
  at(2) = {kData + 8192, 50, kDescriptorWrite, 0};
  ASSERT_TRUE(read(3));
  EXPECT_EQ(chain.head, 3);
  ASSERT_EQ(chain.readable.size(), 1U);
  EXPECT_EQ(chain.readable[0].iov_len, 128U);
  ASSERT_EQ(chain.writable.size(), 2U);
  EXPECT_EQ(total_bytes(chain.writable), 66U);
}

TEST_F(ChainTest, ReadsAnIndirectChain) {
  const auto indirect = table({{kData, 40, kDescriptorNext, 1}, {kData + 64, 16, kDescriptorWrite, 0}});
  at(0) = {indirect, 2 * sizeof(Descriptor), kDescriptorIndirect, 0};
  ASSERT_TRUE(read(0));
  EXPECT_EQ(total_bytes(chain.readable), 40U);
  EXPECT_EQ(total_bytes(chain.writable), 16U);
}

TEST_F(ChainTest, RefusesWhatIsWrong) {
  at(0) = {kData, 10, kDescriptorNext, 16};
  EXPECT_FALSE(read(0)) << "next beyond the table";
  EXPECT_FALSE(read(16)) << "head beyond the table";
  at(0) = {kData, 10, kDescriptorNext, 0};
  EXPECT_FALSE(read(0)) << "a loop";
  at(0) = {kData, 10, kDescriptorNext, 1};
  at(1) = {kData, 10, kDescriptorNext, 0};
  EXPECT_FALSE(read(0)) << "a longer loop";
  at(0) = {kData, 0, 0, 0};
  EXPECT_FALSE(read(0)) << "an empty buffer";
  at(0) = {kData, 10, kDescriptorNext | kDescriptorWrite, 1};
  at(1) = {kData, 10, 0, 0};
  EXPECT_FALSE(read(0)) << "readable after writable";
  at(0) = {RingFixture::kGuest - 1, 10, 0, 0};
  EXPECT_FALSE(read(0)) << "outside memory";
  at(0) = {RingFixture::kGuest + RingFixture::kBytes - 5, 10, 0, 0};
  EXPECT_FALSE(read(0)) << "beyond the end of memory";
  at(0) = {~std::uint64_t{0} - 3, 10, 0, 0};
  EXPECT_FALSE(read(0)) << "wrapping around";
}

TEST_F(ChainTest, RefusesBadIndirectTables) {
  const auto refused = [&](const Descriptor& first, const char* why) {
    at(0) = first;
    EXPECT_FALSE(read(0)) << why;
  };
  const auto good = table({{kData, 40, 0, 0}});
  refused({good, 0, kDescriptorIndirect, 0}, "empty");
  refused({good, 17, kDescriptorIndirect, 0}, "uneven");
  refused({good, sizeof(Descriptor), kDescriptorIndirect | kDescriptorNext, 1}, "continued");
  refused({kData + (8U << 20), sizeof(Descriptor), kDescriptorIndirect, 0}, "nowhere");
  refused({good + 1, sizeof(Descriptor), kDescriptorIndirect, 0}, "not aligned");
  refused({kData, (kMaxChainDescriptors + 1) * sizeof(Descriptor), kDescriptorIndirect, 0}, "too long");
  refused({table({{good, 16, kDescriptorIndirect, 0}}), sizeof(Descriptor), kDescriptorIndirect, 0},
          "nested");
  refused({table({{kData, 8, kDescriptorNext, 0}}), sizeof(Descriptor), kDescriptorIndirect, 0}, "a loop");
  refused({table({{kData, 8, kDescriptorNext, 7}}), sizeof(Descriptor), kDescriptorIndirect, 0},
          "next beyond it");
}

TEST_F(ChainTest, ReusesItsRoom) {
  at(0) = {kData, 10, kDescriptorNext, 1};
  at(1) = {kData + 100, 10, kDescriptorWrite, 0};
  ASSERT_TRUE(read(0));
  ASSERT_TRUE(read(0));
  EXPECT_EQ(chain.readable.size(), 1U);
  EXPECT_EQ(chain.writable.size(), 1U);
}

}  // namespace
}  // namespace layerboot::vfsd::vhost
