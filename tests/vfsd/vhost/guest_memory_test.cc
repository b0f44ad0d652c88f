#include "vfsd/vhost/guest_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace layerboot::vfsd::vhost {
namespace {

constexpr std::uint64_t kMax = ~std::uint64_t{0};

UniqueFd memfd(std::size_t size_bytes) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
  return fd;
}

MemoryRegion region(std::uint64_t guest, std::uint64_t size, std::uint64_t user = 0,
                    std::uint64_t offset = 0) {
  return {guest, size, user, offset};
}

TEST(GuestMemory, TranslatesInsideARegion) {
  const auto memory = GuestMemory().with(region(0x10000, 8192, 0x7000), memfd(8192));
  ASSERT_TRUE(memory);
  std::vector<iovec> out;
  ASSERT_TRUE((*memory)->translate(0x10010, 32, out));
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].iov_len, 32U);
  EXPECT_EQ((*memory)->contiguous(0x10010, 32), out[0].iov_base);
  EXPECT_EQ((*memory)->from_user(0x7010, 32), out[0].iov_base);
}

TEST(GuestMemory, SplitsAcrossRegionsAndJoinsNeighbours) {
  auto memory = GuestMemory().with(region(0, 4096, 0), memfd(4096));
  ASSERT_TRUE(memory);
  const auto both = (*memory)->with(region(4096, 4096, 1 << 20), memfd(4096));
  ASSERT_TRUE(both);
  std::vector<iovec> out;
  ASSERT_TRUE((*both)->translate(4000, 200, out));
  std::size_t total = 0;
  for (const auto& slice : out) total += slice.iov_len;
  EXPECT_EQ(total, 200U);
  EXPECT_EQ((*both)->contiguous(4000, 200), nullptr);
  out.clear();
  ASSERT_TRUE((*both)->translate(0, 100, out));
  ASSERT_TRUE((*both)->translate(100, 100, out));
  EXPECT_EQ(out.size(), 1U);
}

TEST(GuestMemory, RefusesAddressesThatAreNowhere) {
  const auto memory = GuestMemory().with(region(0x10000, 4096, 0x10000), memfd(4096));
  ASSERT_TRUE(memory);
  std::vector<iovec> out;
  EXPECT_FALSE((*memory)->translate(0xffff, 2, out));
  EXPECT_FALSE((*memory)->translate(0x10fff, 2, out));
  EXPECT_FALSE((*memory)->translate(kMax, 2, out));
  EXPECT_FALSE((*memory)->translate(0x10000, kMax, out));
  EXPECT_EQ((*memory)->contiguous(0x10001, kMax), nullptr);
  EXPECT_EQ((*memory)->from_user(0x10001, kMax), nullptr);
  EXPECT_EQ((*memory)->from_user(0xffff, 1), nullptr);
  EXPECT_EQ((*memory)->from_user(0x11000, 0), nullptr);
}

TEST(GuestMemory, RefusesBadRegions) {
  const GuestMemory none;
  EXPECT_FALSE(none.with(region(0, 0), memfd(4096)));
  EXPECT_FALSE(none.with(region(kMax - 10, 4096), memfd(4096)));
  EXPECT_FALSE(none.with(region(0, 4096, kMax - 10), memfd(4096)));
  EXPECT_FALSE(none.with(region(0, 4096, 0, kMax - 10), memfd(4096)));
  EXPECT_FALSE(none.with(region(0, 8192), memfd(4096))) << "beyond the end of the file";
  EXPECT_FALSE(none.with(region(0, 4096, 0, 4096), memfd(4096)));
  EXPECT_FALSE(none.with(region(0, 4096), UniqueFd()));
  const auto one = none.with(region(0x1000, 4096), memfd(4096));
  ASSERT_TRUE(one);
  EXPECT_FALSE((*one)->with(region(0x1fff, 4096), memfd(4096))) << "overlaps";
  EXPECT_FALSE((*one)->without(region(0x1000, 8192)));
}

TEST(GuestMemory, IsBounded) {
  auto memory = GuestMemory().with(region(0, 4096), memfd(4096));
  for (std::uint64_t i = 1; i < GuestMemory::kMaxRegions; ++i) {
    memory = (*memory)->with(region(i * 8192, 4096), memfd(4096));
    ASSERT_TRUE(memory);
  }
  EXPECT_FALSE((*memory)->with(region(1 << 30, 4096), memfd(4096)));
}

TEST(GuestMemory, AnOldTableKeepsItsMappings) {
  auto one = GuestMemory().with(region(0, 4096), memfd(4096));
  ASSERT_TRUE(one);
  std::shared_ptr<const GuestMemory> old = *one;
  auto none = old->without(region(0, 4096));
  ASSERT_TRUE(none);
  one = fail(EIO);
  std::vector<iovec> out;
  EXPECT_FALSE((*none)->translate(0, 1, out));
  ASSERT_TRUE(old->translate(0, 4096, out));
  static_cast<char*>(out[0].iov_base)[4095] = 1;  // a fault, were it gone
}

TEST(GuestMemory, MapsAtAnUnevenFileOffset) {
  const UniqueFd fd = memfd(3 * 4096);
  const auto memory = GuestMemory().with(region(0, 4096, 0, 5000), UniqueFd(::dup(fd.get())));
  ASSERT_TRUE(memory);
  (*memory)->contiguous(0, 1)[0] = std::byte{42};
  char seen = 0;
  ASSERT_EQ(::pread(fd.get(), &seen, 1, 5000), 1);
  EXPECT_EQ(seen, 42);
}

}  // namespace
}  // namespace layerboot::vfsd::vhost
