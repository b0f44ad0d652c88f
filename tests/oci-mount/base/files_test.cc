#include "oci-mount/base/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "oci-mount/base/bytes.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot {
namespace {

std::size_t count_files(const std::filesystem::path& directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

TEST(OpenPath, NamesThePathInItsError) {
  const auto fd = open_path("/nonexistent/file", O_RDONLY);
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error().code, ENOENT);
  EXPECT_NE(fd.error().text.find("/nonexistent/file"), std::string::npos);
}

TEST(OpenPath, ClosesOnExec) {
  const auto fd = open_path("/dev/null", O_RDONLY);
  ASSERT_TRUE(fd);
  EXPECT_NE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(OpenBeneath, FollowsNoLinkAndStaysWhereItIs) {
  const test::TempDir scratch;
  namespace fs = std::filesystem;
  fs::create_directories(scratch.path() / "top/inner");
  fs::create_directory_symlink("inner", scratch.path() / "top/link");
  const auto top = open_path(scratch.path() / "top", O_PATH | O_DIRECTORY);
  ASSERT_TRUE(top);
  const auto code = [&](const char* path, int flags) {
    const auto fd = open_beneath(top->get(), path, flags);
    return fd ? 0 : fd.error().code;
  };
  EXPECT_EQ(code("inner/file", O_RDWR | O_CREAT), 0);
  EXPECT_EQ(code(".", O_RDONLY | O_DIRECTORY), 0);
  EXPECT_EQ(code("link/file", O_RDONLY), ELOOP) << "on the way";
  EXPECT_EQ(code("link", O_RDONLY), ELOOP) << "at the end";
  EXPECT_EQ(code("link", O_PATH), 0) << "itself";
  EXPECT_EQ(code("..", O_RDONLY | O_DIRECTORY), EXDEV);
  EXPECT_EQ(code("inner/../../top", O_RDONLY | O_DIRECTORY), EXDEV);
  EXPECT_EQ(code("/", O_RDONLY | O_DIRECTORY), EXDEV);
  const auto root = open_path("/", O_PATH | O_DIRECTORY);
  ASSERT_TRUE(root);
  constexpr int kDirectory = O_RDONLY | O_DIRECTORY;
  EXPECT_EQ(open_beneath(root->get(), "proc/self/fd", kDirectory).error().code, EXDEV) << "another mount";
  EXPECT_TRUE(open_beneath(root->get(), "proc/sys", kDirectory, 0, OtherMounts::kEntered));
}

TEST(ReadFile, HasALimit) {
  const test::TempDir dir;
  test::write_text(dir / "file", std::string(100, 'x'));
  EXPECT_EQ(read_file(dir / "file", 100)->size(), 100U);
  const auto over = read_file(dir / "file", 99);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, E2BIG);
}

TEST(MakeDirectories, MakesParentsAndTakesWhatIsThere) {
  const test::TempDir dir;
  EXPECT_TRUE(make_directories(dir / "a/b/c"));
  EXPECT_TRUE(make_directories(dir / "a/b/c"));
  EXPECT_TRUE(std::filesystem::is_directory(dir / "a/b/c"));
  test::write_text(dir / "file", "");
  EXPECT_FALSE(make_directories(dir / "file"));
  EXPECT_FALSE(make_directories(dir / "file/below"));
}

/// On a host with nameless files, and on one without.
TEST(OpenTrusted, WhatOthersCouldHaveWrittenIsStale) {
  const test::TempDir dir;
  const auto path = dir / "file";
  EXPECT_EQ(open_trusted(path).error().code, ENOENT);
  test::write_text(path, "x");
  EXPECT_TRUE(open_trusted(path));
  for (const mode_t mode : {0664U, 0646U}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_EQ(open_trusted(path).error().code, ESTALE) << mode;
  }
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  std::filesystem::create_symlink("file", dir / "link");
  EXPECT_EQ(open_trusted(dir / "link").error().code, ESTALE);
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(open_trusted(dir / "fifo").error().code, ESTALE);
  if (::geteuid() != 0) GTEST_SKIP() << "files of others take root";
  ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
  EXPECT_EQ(open_trusted(path).error().code, ESTALE);
  ASSERT_EQ(::chown(dir.path().c_str(), 12345, 12345), 0);
  EXPECT_TRUE(open_trusted(path)) << "who is given as the place of indexes is trusted with them";
}

class AtomicFileTest : public testing::TestWithParam<AtomicFile::Way> {};
INSTANTIATE_TEST_SUITE_P(EachWay, AtomicFileTest,
                         testing::Values(AtomicFile::Way::kNamelessIfAble, AtomicFile::Way::kNamed),
                         [](const auto& way) {
                           return way.param == AtomicFile::Way::kNamed ? "Named" : "Nameless";
                         });

TEST_P(AtomicFileTest, LeavesNothingWhenNotCommitted) {
  const test::TempDir dir;
  {
    auto file = AtomicFile::create(dir / "file", 0644, GetParam());
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->append(as_bytes("half")));
  }
  EXPECT_EQ(count_files(dir.path()), 0U);
}

TEST_P(AtomicFileTest, AppearsWholeAndReplaces) {
  const test::TempDir dir;
  for (const std::string text : {"first", "second"}) {
    auto file = AtomicFile::create(dir / "file", 0444, GetParam());
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->append(as_bytes(text.substr(0, 3))));
    ASSERT_TRUE(file->append(as_bytes(text.substr(3))));
    EXPECT_EQ(file->size_bytes(), text.size());
    ASSERT_TRUE(file->commit());
    EXPECT_EQ(test::read_text(dir / "file"), text);
  }
  EXPECT_EQ(count_files(dir.path()), 1U);
}

TEST_P(AtomicFileTest, TwoOfOneNameDoNotMeet) {
  const test::TempDir dir;
  auto first = AtomicFile::create(dir / "file", 0644, GetParam());
  auto second = AtomicFile::create(dir / "file", 0644, GetParam());
  ASSERT_TRUE(first && second);
  ASSERT_TRUE(first->append(as_bytes("first")) && second->append(as_bytes("second")));
  ASSERT_TRUE(second->commit());
  ASSERT_TRUE(first->commit());
  EXPECT_EQ(test::read_text(dir / "file"), "first");
  *first = std::move(*second);
  EXPECT_EQ(count_files(dir.path()), 1U);
}

}  // namespace
}  // namespace layerboot
