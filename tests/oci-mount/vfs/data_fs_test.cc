// What is done to a file's data beside plain reading and writing: every mode of fallocate(2), copies on the
// host, offsets that 32 bits do not hold.
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "oci-mount/base/unique_fd.h"
#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

class DataFsTest : public WritableFsTest {
 protected:
  int allocate(std::string_view path, std::uint32_t mode, std::uint64_t offset, std::uint64_t length) {
    const auto node = drive().acquire(path);
    const int code = code_of(wait(fs->fallocate(*drive().reactor, node, mode, offset, length)));
    drive().release(node);
    return code;
  }
  Result<std::size_t> copy(std::string_view from, std::uint64_t from_offset, std::string_view to,
                           std::uint64_t to_offset, std::uint64_t length) {
    const auto source_node = drive().acquire(from);
    const auto target_node = drive().acquire(to);
    auto copied =
        wait(fs->copy_file_range(*drive().reactor, source_node, from_offset, target_node, to_offset, length));
    drive().release(source_node);
    drive().release(target_node);
    return copied;
  }
};

/// The host's own file system says what is right, or that it can't.
TEST_F(DataFsTest, EveryModeOfFallocateDoesWhatTheHostsDoes) {
  constexpr std::uint32_t kKeep = FALLOC_FL_KEEP_SIZE;
  const std::string content = sample_bytes(64 * 1024, 9);
  int number = 0;
  for (const std::uint32_t mode :
       {0U, kKeep, FALLOC_FL_PUNCH_HOLE | kKeep, std::uint32_t{FALLOC_FL_ZERO_RANGE},
        FALLOC_FL_ZERO_RANGE | kKeep, std::uint32_t{FALLOC_FL_COLLAPSE_RANGE},
        std::uint32_t{FALLOC_FL_INSERT_RANGE}}) {
    for (const auto& [offset, length] : {std::pair{8192U, 16384U}, std::pair{65536U, 8192U}}) {
      const std::string name = "file" + std::to_string(number++);
      ASSERT_EQ(drive().create(name, content), 0);
      const auto host = directory / name;
      write_text(host, content);
      const UniqueFd fd(::open(host.c_str(), O_RDWR | O_CLOEXEC));
      const int expected = ::fallocate(fd.get(), static_cast<int>(mode), offset, length) == 0 ? 0 : errno;
      EXPECT_EQ(allocate(name, mode, offset, length), expected) << mode << ' ' << offset;
      EXPECT_TRUE(drive().read(name) == read_text(host)) << mode << ' ' << offset;
      expect_usage_agrees();
    }
  }
  for (const std::uint32_t mode :
       {1U << 30, std::uint32_t{FALLOC_FL_PUNCH_HOLE}, std::uint32_t{FALLOC_FL_UNSHARE_RANGE},
        FALLOC_FL_COLLAPSE_RANGE | kKeep}) {
    EXPECT_EQ(allocate("file0", mode, 0, 4096), EOPNOTSUPP) << mode;
  }
  EXPECT_EQ(allocate("etc", 0, 0, 4096), EINVAL);
}

TEST_F(DataFsTest, HolesOfAFilePreallocatedPastItsEndAreReserved) {
  constexpr std::uint64_t kHole = 1 << 20;
  ASSERT_EQ(drive().create("file", ""), 0);
  ASSERT_EQ(drive().truncate("file", kHole), 0);
  ASSERT_EQ(allocate("file", FALLOC_FL_KEEP_SIZE, kHole, kHole), 0);
  restart();  // nothing but the host remembers it
  const auto used = booked().bytes;
  open_writable(used + 8192, kTestQuotaInodes);
  EXPECT_EQ(drive().write("file", 0, std::string(kHole / 2, 'x')), ENOSPC);
  open_writable(kTestQuotaBytes, kTestQuotaInodes);
  EXPECT_EQ(drive().write("file", 0, std::string(kHole / 2, 'x')), 0);
}

TEST_F(DataFsTest, CopiesOnTheHostWithinTheBudget) {
  ASSERT_EQ(drive().create("to", ""), 0);
  EXPECT_EQ(copy("etc/big", 1000, "to", 50, 2'000'000).value_or(0), 2'000'000U);
  EXPECT_TRUE(drive().read("to") == std::string(50, '\0') + lower_big().substr(1000, 2'000'000));
  EXPECT_EQ(copy("etc/big", lower_big().size() - 10, "to", 0, 4096).value_or(0), 10U)
      << "to the source's end";
  EXPECT_EQ(copy("to", 0, "etc/small", 0, 10).value_or(0), 10U) << "copies the target up";
  EXPECT_EQ(drive().read("etc/small").substr(0, 10), drive().read("to").substr(0, 10));
  EXPECT_EQ(copy("to", 0, "to", 5, 10).error().code, EINVAL) << "onto itself";
  EXPECT_EQ(copy("to", 0, "to", 3'000'000, 10).value_or(0), 10U);
  EXPECT_FALSE(copy("etc", 0, "to", 0, 10));
}

TEST_F(DataFsTest, OffsetsBeyondFourGiB) {
  constexpr std::uint64_t kFar = (std::uint64_t{5} << 30) + 17;
  ASSERT_EQ(drive().create("far", "start"), 0);
  ASSERT_EQ(drive().write("far", kFar, "end"), 0);
  for (int i = 0; i < 2; ++i) {
    const auto attr = drive().attr("far");
    EXPECT_EQ(attr.size_bytes, kFar + 3);
    EXPECT_LT(attr.blocks, 64U);
    const auto node = drive().acquire("far");
    std::string end(8, '?');
    const iovec into{end.data(), end.size()};
    EXPECT_EQ(wait(fs->read(*drive().reactor, node, kFar - 2, {&into, 1})).value_or(0), 5U);
    EXPECT_EQ(end.substr(0, 5), std::string("\0\0end", 5));
    EXPECT_EQ(fs->lseek(node, 4096, SEEK_DATA).value_or(0), kFar / 4096 * 4096);
    EXPECT_EQ(fs->lseek(node, 0, SEEK_HOLE).value_or(0), 4096U);
    drive().release(node);
    restart();
  }
  EXPECT_EQ(drive().truncate("far", (std::uint64_t{6} << 30) + 1), 0);
  EXPECT_EQ(drive().attr("far").size_bytes, (std::uint64_t{6} << 30) + 1);
  EXPECT_EQ(drive().unlink("far"), 0);  // the fixture reads what is left
}

}  // namespace
}  // namespace layerboot::test
