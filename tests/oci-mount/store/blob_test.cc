#include "oci-mount/store/blob.h"

#include <gtest/gtest.h>
#include <limits.h>
#include <sys/stat.h>

#include "oci-mount/base/bytes.h"
#include "tests/support/counting_blob.h"
#include "tests/support/image_builder.h"
#include "tests/support/reactor_fixture.h"
#include "tests/support/temp_dir.h"

namespace layerboot::store {
namespace {

class BlobTest : public test::ReactorFixture {
 protected:
  Result<std::string> read(const Blob& blob, std::uint64_t offset, std::size_t size) {
    std::string text(size, '.');
    const iovec slice{text.data(), size};
    auto got = reactor_->block_on(blob.read_at(*reactor_, offset, std::span(&slice, 1)));
    if (!got) return std::unexpected(got.error());
    return text.substr(0, *got);
  }
  test::TempDir dir_;
};

TEST_F(BlobTest, FileGivesItsBytesBothWays) {
  test::write_text(dir_ / "blob", "0123456789");
  const auto blob = FileBlob::open(dir_ / "blob", "the blob");
  ASSERT_TRUE(blob) << blob.error().describe();
  EXPECT_EQ((*blob)->size_bytes(), 10U);
  EXPECT_EQ((*blob)->name(), "the blob");
  EXPECT_EQ(*read(**blob, 3, 4), "3456");
  EXPECT_EQ(*read(**blob, 8, 4), "89");
  EXPECT_EQ(*read(**blob, 10, 4), "");
  std::string text(4, '.');
  EXPECT_EQ(*(*blob)->read_blocking(3, std::as_writable_bytes(std::span(text))), 4U);
  EXPECT_EQ(text, "3456");
}

TEST_F(BlobTest, MoreSlicesThanTheKernelTakesGiveAShortRead) {
  const std::string text = test::sample_bytes(IOV_MAX + 100, 7);
  test::write_text(dir_ / "blob", text);
  const auto blob = FileBlob::open(dir_ / "blob", "the blob");
  ASSERT_TRUE(blob);
  std::string back(text.size(), '.');
  std::vector<iovec> slices;
  for (char& c : back) slices.push_back({&c, 1});
  const auto got = reactor_->block_on((*blob)->read_at(*reactor_, 0, slices));
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_EQ(*got, static_cast<std::size_t>(IOV_MAX));
  EXPECT_EQ(back.substr(0, *got), text.substr(0, *got));
}

TEST_F(BlobTest, OnlyRegularFilesAreBlobs) {
  EXPECT_FALSE(FileBlob::open(dir_.path(), "a directory"));
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  const auto fifo = FileBlob::open(dir_ / "fifo", "a fifo");
  ASSERT_FALSE(fifo);
  EXPECT_NE(fifo.error().text.find("not a regular file"), std::string::npos);
  const auto none = FileBlob::open(dir_ / "none", "no file");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ENOENT);
}

TEST_F(BlobTest, TheFakeCountsAndFails) {
  test::CountingBlob blob("0123456789");
  EXPECT_EQ(*read(blob, 2, 3), "234");
  blob.set_max_read(1);
  EXPECT_EQ(*read(blob, 2, 3), "2");
  EXPECT_EQ(blob.reads(), 2U);
  EXPECT_EQ(blob.bytes_read(), 4U);
  blob.set_error(EIO);
  EXPECT_EQ(read(blob, 2, 3).error().code, EIO);
}

}  // namespace
}  // namespace layerboot::store
