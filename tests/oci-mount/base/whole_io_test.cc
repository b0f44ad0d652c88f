#include "oci-mount/base/whole_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <string>

#include "oci-mount/base/files.h"
#include "tests/support/reactor_fixture.h"
#include "tests/support/temp_dir.h"

namespace layerboot {
namespace {

class WholeIoTest : public test::EngineFixture {
 protected:
  Result<std::size_t> read(int fd, std::span<const iovec> into, std::uint64_t offset) {
    return reactor_->block_on(read_whole(*reactor_, fd, into, offset));
  }
  Result<std::size_t> write(int fd, std::span<const iovec> from, std::uint64_t offset) {
    return reactor_->block_on(write_whole(*reactor_, fd, from, offset));
  }
};
LAYERBOOT_ON_EACH_ENGINE(WholeIoTest);

/// No file of this process grows beyond `bytes` while this lives: a write across it is short, the next one
/// fails.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit now{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = SIG_DFL;
};

TEST_P(WholeIoTest, WritesAndReadsBackAcrossSlices) {
  const test::TempDir dir;
  const auto fd = open_path(dir / "file", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(fd);
  std::string text = "one two three";
  const std::array from{iovec{text.data(), 4}, iovec{text.data() + 4, 9}};
  EXPECT_EQ(write(fd->get(), from, 5).value_or(0), 13U);
  std::string back(13, '.');
  const std::array into{iovec{back.data(), 1}, iovec{back.data() + 1, 12}};
  EXPECT_EQ(read(fd->get(), into, 5).value_or(0), 13U);
  EXPECT_EQ(back, text);
}

TEST_P(WholeIoTest, AReadEndsWithTheFile) {
  const test::TempDir dir;
  const auto fd = open_path(dir / "file", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(fd);
  ASSERT_TRUE(write_all(fd->get(), std::as_bytes(std::span("abcdef", 6)), 0));
  std::string back(10, '.');
  const std::array into{iovec{back.data(), 4}, iovec{back.data() + 4, 6}};
  EXPECT_EQ(read(fd->get(), into, 1).value_or(0), 5U);
  EXPECT_EQ(back, "bcdef.....");
  EXPECT_EQ(read(fd->get(), into, 100).value_or(1), 0U);
}

TEST_P(WholeIoTest, AReadGoesOnWhereAShortOneEnded) {
  // The kernel gives what it makes line by line a page at a time.
  const auto fd = open_path("/proc/kallsyms", O_RDONLY);
  if (!fd) GTEST_SKIP() << "no file that is read in pieces: " << fd.error().describe();
  constexpr std::size_t kBytes = 30'000;
  std::string expected(kBytes, '.');
  ASSERT_TRUE(std::ifstream("/proc/kallsyms").read(expected.data(), kBytes));
  std::string back(kBytes, '.');
  ASSERT_LT(::pread(fd->get(), back.data(), kBytes, 0), static_cast<ssize_t>(kBytes));
  const std::array into{iovec{back.data(), 2}, iovec{back.data() + 2, 10'000},
                        iovec{back.data() + 10'002, kBytes - 10'002}};
  EXPECT_EQ(read(fd->get(), into, 0).value_or(0), kBytes);
  EXPECT_TRUE(back == expected);
}

TEST_P(WholeIoTest, AWriteThatFailsAfterTheFirstByteGivesItsCount) {
  const test::TempDir dir;
  const auto fd = open_path(dir / "file", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(fd);
  const FileSizeLimit limit(10);
  std::string text(16, 'x');
  const std::array from{iovec{text.data(), text.size()}};
  EXPECT_EQ(write(fd->get(), from, 0).value_or(0), 10U);
  const auto refused = write(fd->get(), from, 10);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EFBIG);
}

TEST_P(WholeIoTest, NothingIsNoRequest) {
  EXPECT_EQ(read(-1, {}, 0).value_or(1), 0U);
  EXPECT_EQ(write(-1, {}, 0).value_or(1), 0U);
  std::byte one{};
  const std::array slice{iovec{&one, 1}};
  EXPECT_EQ(read(-1, slice, 0).error().code, EBADF);
  EXPECT_EQ(write(-1, slice, 0).error().code, EBADF);
}

}  // namespace
}  // namespace layerboot
