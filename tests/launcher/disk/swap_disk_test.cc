#include "launcher/disk/swap_disk.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "oci-mount/base/files.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

class SwapDisk : public testing::Test {
 protected:
  struct stat stat_of_disk() const {
    struct stat st{};
    EXPECT_EQ(::stat(path_.c_str(), &st), 0);
    return st;
  }

  test::TempDir dir_;
  std::filesystem::path path_ = dir_ / "swap.raw";
};

TEST_F(SwapDisk, IsWhatTheKernelTakesAndSparse) {
  constexpr std::uint64_t kPages = 100'000;
  const auto made = make_swap_disk(path_, kPages * 4096 + 5);
  ASSERT_TRUE(made) << made.error().describe();
  const struct stat st = stat_of_disk();
  EXPECT_EQ(st.st_size, kPages * 4096);
  EXPECT_LE(st.st_blocks, 64);
  EXPECT_EQ(st.st_mode & 07777U, 0600U);
  const auto bytes = read_file(path_, std::size_t{1} << 30);
  ASSERT_TRUE(bytes);
  // union swap_header: version, last page, bad pages.
  std::uint32_t info[3] = {};
  std::memcpy(info, bytes->data() + 1024, sizeof(info));
  EXPECT_EQ(info[0], 1U);
  EXPECT_EQ(info[1], kPages - 1);
  EXPECT_EQ(info[2], 0U);
  EXPECT_EQ(bytes->substr(4086, 10), "SWAPSPACE2");
}

TEST_F(SwapDisk, IsMadeAnewAndIsNobodyElses) {
  ASSERT_TRUE(make_swap_disk(path_, 1 << 20));
  const ino_t first = stat_of_disk().st_ino;
  const auto held = open_path(path_, O_RDONLY);
  ASSERT_TRUE(make_swap_disk(path_, 2 << 20));
  EXPECT_EQ(stat_of_disk().st_size, 2 << 20);
  EXPECT_NE(stat_of_disk().st_ino, first);
  struct stat of_held{};
  ASSERT_EQ(::fstat(held->get(), &of_held), 0);
  EXPECT_EQ(of_held.st_size, 1 << 20);
}

TEST_F(SwapDisk, NeedsRoom) {
  const auto made = make_swap_disk(path_, std::uint64_t{1} << 43);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().text.find("--swap: 8"), std::string::npos) << made.error().text;
  EXPECT_NE(made.error().text.find("free"), std::string::npos) << made.error().text;
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace layerboot::launcher
