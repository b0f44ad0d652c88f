#include "oci-mount/store/tar_archive.h"

#include <gtest/gtest.h>

#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::store {
namespace {

using test::TarBuilder;

class TarArchiveTest : public ::testing::Test {
 protected:
  Result<std::shared_ptr<const TarArchive>> open(const std::string& bytes) {
    test::write_text(dir_ / "a.tar", bytes);
    LB_ASSIGN(auto file, FileBlob::open(dir_ / "a.tar", "archive"));
    return TarArchive::read_from(std::move(file), dir_ / "a.tar");
  }
  void expect_refused(const std::string& bytes, std::string_view word) {
    const auto archive = open(bytes);
    ASSERT_FALSE(archive) << word;
    EXPECT_NE(archive.error().text.find(word), std::string::npos) << archive.error().text;
  }
  test::TempDir dir_;
};

TEST_F(TarArchiveTest, GivesItsFilesInPlace) {
  const std::string long_name = std::string(90, 'd') + "/" + std::string(90, 'e');
  TarBuilder tar;
  tar.directory("x/").file("./x/layer.tar", "first bytes").file(long_name, "deep").file("x/empty", "");
  const auto archive = open(tar.finish());
  ASSERT_TRUE(archive) << archive.error().text;
  EXPECT_EQ((*archive)->read("x/layer.tar", 100), "first bytes");
  EXPECT_EQ((*archive)->read(long_name, 100), "deep");
  EXPECT_EQ((*archive)->read("x/empty", 100), "");
  const auto blob = (*archive)->find("x/layer.tar", "the layer");
  ASSERT_TRUE(blob);
  EXPECT_EQ((*blob)->size_bytes(), 11U);
  EXPECT_EQ((*blob)->fd_offset(), 1024U);
  std::string piece(100, '\0');
  // It ends where the file does, though the archive goes on.
  EXPECT_EQ((*blob)->read_blocking(6, std::as_writable_bytes(std::span(piece))), 5U);
  EXPECT_EQ(piece.substr(0, 5), "bytes");
  EXPECT_EQ((*blob)->read_blocking(11, std::as_writable_bytes(std::span(piece))), 0U);
  EXPECT_EQ((*archive)->read("x/layer.tar", 10).error().code, E2BIG);
  EXPECT_EQ((*archive)->read("x", 10).error().code, ENOENT);
}

TEST_F(TarArchiveTest, LinksAreFollowedWithinTheArchiveOnly) {
  test::write_text(dir_ / "secret", "of the host");
  TarBuilder tar;
  tar.file("one/layer.tar", "data")
      .symlink("two/layer.tar", "../one/layer.tar")
      .hard_link("three", "two/layer.tar");
  tar.symlink("out", (dir_ / "secret").string()).symlink("up", "../../../one/layer.tar");
  tar.symlink("round", "round").symlink("a", "b").symlink("b", "a");
  const auto archive = open(tar.finish());
  ASSERT_TRUE(archive) << archive.error().text;
  EXPECT_EQ((*archive)->read("two/layer.tar", 100), "data");
  EXPECT_EQ((*archive)->read("three", 100), "data");
  EXPECT_EQ((*archive)->read("up", 100), "data");
  EXPECT_EQ((*archive)->read("out", 100).error().code, ENOENT);
  for (const char* loop : {"round", "a"}) {
    const auto read = (*archive)->read(loop, 100);
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().text.find("limit of 8 links"), std::string::npos) << read.error().text;
  }
}

TEST_F(TarArchiveTest, SaysWhatIsWrongWithOne) {
  const std::string good = TarBuilder().file("f", std::string(2000, 'x')).finish();
  expect_refused(good.substr(0, 1500), "cut short");
  expect_refused(good.substr(0, 300), "no tar: it has 300 bytes");
  expect_refused(std::string(1024, 'q'), "checksum");
  test::TarMember huge;
  huge.type = 'L';
  huge.name = "long";
  huge.content.assign((1U << 20U) + 1, 'n');
  expect_refused(TarBuilder().add(huge).finish(), "limit of 1048576");
  EXPECT_TRUE(open(std::string(1024, '\0')));
  EXPECT_TRUE(open(""));
}

TEST_F(TarArchiveTest, BoundsItsMembers) {
  TarBuilder tar;
  for (std::size_t i = 0; i <= TarArchive::kMaxMembers; ++i) tar.file(std::to_string(i), "");
  expect_refused(tar.finish(), "more than 65536 members");
}

}  // namespace
}  // namespace layerboot::store
