#include "oci-mount/store/unpacked_archive.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <functional>
#include <thread>

#include "oci-mount/base/disk_blocks.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::store {
namespace {

namespace fs = std::filesystem;
using test::TarBuilder;

class UnpackedArchiveTest : public testing::Test {
 protected:
  Result<OpenedArchive> open(Unpacking unpacking = Unpacking::kAllowed) {
    return open_archive(archive_, cache_, unpacking);
  }
  [[nodiscard]] std::size_t kept() const {
    std::error_code error;
    const fs::directory_iterator files(cache_, error);
    return error ? 0 : static_cast<std::size_t>(std::distance(files, {}));
  }
  void expect_refused(const std::string& bytes, std::string_view word) {
    test::write_text(archive_, bytes);
    const auto archive = open();
    ASSERT_FALSE(archive) << word;
    EXPECT_NE(archive.error().text.find(word), std::string::npos) << archive.error().text;
    EXPECT_NE(archive.error().text.find(archive_.string()), std::string::npos) << archive.error().text;
    EXPECT_EQ(kept(), 0U) << word;
  }
  static ino_t inode(const fs::path& path) {
    struct stat st{};
    EXPECT_EQ(::stat(path.c_str(), &st), 0) << path;
    return st.st_ino;
  }

  test::TempDir dir_;
  fs::path archive_ = dir_ / "image.tar.packed";
  fs::path cache_ = dir_ / "cache";
  std::string tar_ =
      TarBuilder().file("manifest.json", "[]").file("big", test::sample_bytes(700'000, 1)).finish();
};

TEST_F(UnpackedArchiveTest, IsUnpackedOnceWhateverItIsCompressedWith) {
  std::size_t count = 0;
  for (const std::string& bytes : {test::gzip(tar_), test::gzip_members(tar_, 100'000), test::zstd(tar_),
                                   test::xz(tar_), test::bzip2(tar_)}) {
    test::write_text(archive_, bytes);
    const auto archive = open();
    ASSERT_TRUE(archive) << archive.error().text;
    EXPECT_EQ(kept(), ++count);
    EXPECT_TRUE(test::read_text(archive->unpacked) == tar_);
    EXPECT_EQ(archive->tar->read("manifest.json", 100), "[]");
    EXPECT_EQ(archive->tar->path(), archive_);
    const ino_t first = inode(archive->unpacked);
    const auto again = open(Unpacking::kNever);
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(inode(again->unpacked), first);
    EXPECT_EQ(again->unpacked, archive->unpacked);
  }
}

TEST_F(UnpackedArchiveTest, IsItsOwnersAlone) {
  fs::create_directory(cache_);  // open to all, as it was made before
  test::write_text(archive_, test::gzip(tar_));
  const auto archive = open();
  ASSERT_TRUE(archive) << archive.error().text;
  EXPECT_EQ(fs::status(archive->unpacked).permissions(), fs::perms{0400});
  EXPECT_EQ(fs::status(cache_).permissions(), fs::perms{0700});
}

TEST_F(UnpackedArchiveTest, IsTheSameUnderEveryName) {
  test::write_text(archive_, test::gzip(tar_));
  const auto archive = open();
  ASSERT_TRUE(archive);
  fs::create_symlink(archive_, dir_ / "link");
  const auto by_link = open_archive(dir_ / "link", cache_, Unpacking::kNever);
  ASSERT_TRUE(by_link) << by_link.error().text;
  EXPECT_EQ(by_link->unpacked, archive->unpacked);
  EXPECT_EQ(by_link->tar->path(), dir_ / "link");
}

TEST_F(UnpackedArchiveTest, APlainOneIsReadInPlace) {
  test::write_text(archive_, tar_);
  const auto archive = open(Unpacking::kNever);
  ASSERT_TRUE(archive) << archive.error().text;
  EXPECT_TRUE(archive->unpacked.empty());
  EXPECT_EQ(kept(), 0U);
  EXPECT_FALSE(open_archive(dir_ / "none", cache_, Unpacking::kAllowed));
  EXPECT_FALSE(open_archive(dir_.path(), cache_, Unpacking::kAllowed));
}

TEST_F(UnpackedArchiveTest, IsLeftAloneWhereThatIsAsked) {
  test::write_text(archive_, test::gzip(tar_));
  const auto archive = open(Unpacking::kNever);
  ASSERT_FALSE(archive);
  EXPECT_EQ(archive.error().code, ENODATA);
  EXPECT_EQ(kept(), 0U);
}

TEST_F(UnpackedArchiveTest, WhatIsWrongIsSaidAndLeavesNothing) {
  using Pack = std::string (*)(std::string_view);
  const Pack packs[] = {[](std::string_view t) { return test::gzip(t); }, test::zstd,
                        [](std::string_view t) { return test::xz(t); }, test::bzip2};
  for (const Pack pack : packs) {
    const std::string whole = pack(tar_);
    expect_refused(whole.substr(0, whole.size() - 1), "cut short");
    expect_refused(whole.substr(0, whole.size() / 2), "cut short");
    std::string wrong = whole;
    // Of gzip the CRC; of the others what stands in for it near the end.
    wrong[wrong.size() - 6] = static_cast<char>(wrong[wrong.size() - 6] ^ 1);
    expect_refused(wrong, "damaged");
    expect_refused(pack(std::string(5000, 'q')), "no tar");
    expect_refused(pack(tar_.substr(0, 200'000)), "cut short");
  }
  expect_refused("LZIP\x01 and so on", "lzip");
}

TEST_F(UnpackedArchiveTest, ZeroesAreHoles) {
  const std::string tar = TarBuilder().file("zeroes", std::string(8 << 20, '\0')).finish();
  test::write_text(archive_, test::gzip(tar));
  const auto archive = open();
  ASSERT_TRUE(archive) << archive.error().text;
  EXPECT_TRUE(test::read_text(archive->unpacked) == tar);
  struct stat st{};
  ASSERT_EQ(::stat(archive->unpacked.c_str(), &st), 0);
  EXPECT_LT(allocated_bytes(st), 2U << 20U);
}

TEST_F(UnpackedArchiveTest, AnInterruptEndsIt) {
  test::write_text(archive_, test::gzip(tar_));
  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  sigset_t before;
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &interrupt, &before), 0);
  ASSERT_EQ(::raise(SIGINT), 0);
  const auto archive = open();
  int taken = 0;
  ::sigwait(&interrupt, &taken);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_FALSE(archive);
  EXPECT_EQ(archive.error().code, EINTR);
  EXPECT_EQ(kept(), 0U);
  EXPECT_TRUE(open());
}

TEST_F(UnpackedArchiveTest, SeveralWhoWantItAtOnceGetOne) {
  test::write_text(archive_, test::gzip(tar_));
  constexpr std::size_t kReaders = 4;
  std::vector<Result<OpenedArchive>> opened(kReaders);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kReaders; ++i) threads.emplace_back([&, i] { opened[i] = open(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(kept(), 1U);
  for (const auto& one : opened) {
    ASSERT_TRUE(one) << one.error().text;
    // The one that has the name: nobody made another.
    EXPECT_EQ(inode(one->unpacked), inode(opened[0]->unpacked));
    EXPECT_EQ(one->tar->read("manifest.json", 100), "[]");
  }
}

}  // namespace
}  // namespace layerboot::store
