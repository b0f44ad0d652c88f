#include "oci-mount/layer/directory_layer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <map>

#include "oci-mount/layer/directory_blob.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

namespace fs = std::filesystem;

class DirectoryLayerTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(top_); }

  std::shared_ptr<const Layer> open() {
    auto layer = open_directory_layer(top_, {.index_dir = dir_ / "index"});
    EXPECT_TRUE(layer) << layer.error().text;
    return layer ? *layer : nullptr;
  }
  static std::map<std::string, EntryType> types_of(const EntryTable& table) {
    std::map<std::string, EntryType> types;
    for (std::uint32_t i = 0; i < table.entry_count(); ++i)
      types.emplace(table.entry(i).path, table.entry(i).type);
    return types;
  }
  static EntryView entry_of(const EntryTable& table, std::string_view path) {
    for (std::uint32_t i = 0; i < table.entry_count(); ++i) {
      if (table.entry(i).path == path) return table.entry(i);
    }
    ADD_FAILURE() << "no " << path;
    return {};
  }
  /// By the ring, as a guest's read does.
  static Result<std::string> read(const Layer& layer, const Extent& extent) {
    auto reactor = Reactor::create();
    std::string text(extent.length_bytes, '\0');
    std::size_t done = 0;
    while (done < text.size()) {
      const iovec slice{text.data() + done, text.size() - done};
      auto got = (*reactor)->block_on(
          layer.blob().read_at(**reactor, extent.stream_offset + done, std::span(&slice, 1)));
      if (!got) return std::unexpected(got.error());
      if (*got == 0) return fail(EIO, "the end");
      done += *got;
    }
    return text;
  }

  test::TempDir dir_;
  fs::path top_ = dir_ / "top";
};

TEST_F(DirectoryLayerTest, TakesEveryKindOfFile) {
  fs::create_directories(top_ / "d/e");
  test::write_text(top_ / "d/file", "content");
  test::write_text(top_ / "d/.wh.plain", "no whiteout");
  test::write_text(top_ / ".wh..wh..opq", "");
  fs::create_symlink("../file", top_ / "d/e/link");
  fs::create_hard_link(top_ / "d/file", top_ / "z");
  ASSERT_EQ(::mkfifo((top_ / "pipe").c_str(), 0600), 0);
  const bool root = ::geteuid() == 0 && ::mknod((top_ / "dev").c_str(), S_IFCHR | 0600, makedev(0, 0)) == 0;
  const bool xattr = ::setxattr((top_ / "d/file").c_str(), "user.colour", "a\0b", 3, 0) == 0;
  if (xattr) {
    ASSERT_EQ(::setxattr(top_.c_str(), "user.top", "1", 1, 0), 0);
  }
  ASSERT_EQ(::chmod((top_ / "d/file").c_str(), 04750), 0);

  const auto layer = open();
  ASSERT_TRUE(layer);
  const auto table = layer->index().load_entries();
  ASSERT_TRUE(table) << table.error().text;
  std::map<std::string, EntryType> expected{{"", EntryType::kDirectory},
                                            {"d", EntryType::kDirectory},
                                            {"d/e", EntryType::kDirectory},
                                            {"d/file", EntryType::kHardLink},
                                            {"d/.wh.plain", EntryType::kFile},
                                            {".wh..wh..opq", EntryType::kFile},
                                            {"d/e/link", EntryType::kSymlink},
                                            {"pipe", EntryType::kFifo},
                                            {"z", EntryType::kFile}};
  if (root) expected["dev"] = EntryType::kCharDevice;
  EXPECT_EQ(types_of(*table), expected);
  EXPECT_EQ(entry_of(*table, "d/file").link, "z");
  const EntryView file = entry_of(*table, "z");
  EXPECT_EQ(file.mode, 04750U);
  EXPECT_EQ(file.uid, ::geteuid());
  EXPECT_EQ(entry_of(*table, "d/e/link").link, "../file");
  if (xattr) {
    ASSERT_EQ(file.xattrs.size(), 1U);
    EXPECT_EQ(file.xattrs[0].value, std::string_view("a\0b", 3));
    EXPECT_EQ(entry_of(*table, "").xattrs.size(), 1U) << "the directory's own";
  }
  ASSERT_EQ(file.extents.size(), 1U);
  EXPECT_EQ(read(*layer, file.extents[0]), "content");
  EXPECT_EQ(read(*layer, entry_of(*table, "d/.wh.plain").extents[0]), "no whiteout");
}

TEST_F(DirectoryLayerTest, AnUnchangedDirectoryFindsItsIndexAgain) {
  test::write_text(top_ / "a", "1");
  const std::string before = open()->identity().text();
  EXPECT_TRUE(before.starts_with("dir:"));
  EXPECT_EQ(open()->identity().text(), before);
  test::write_text(top_ / "b", "");
  const std::string after = open()->identity().text();
  EXPECT_NE(after, before);
  // The same names and sizes, other bytes: the time tells.
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (top_ / "a").c_str(), times, 0), 0);
  EXPECT_NE(open()->identity().text(), after);
}

TEST_F(DirectoryLayerTest, AFileThatChangedGivesEioNeverOtherBytes) {
  const char* const names[] = {"longer", "replaced", "shorter", "symlink", "touched"};
  for (const char* name : names) test::write_text(top_ / name, "12345678");
  test::write_text(dir_ / "secret", "12345678");
  const auto layer = open();
  const auto table = layer->index().load_entries();
  test::write_text(top_ / "longer", "123456789");
  test::write_text(top_ / "other", "87654321");
  fs::rename(top_ / "other", top_ / "replaced");
  test::write_text(top_ / "shorter", "1");
  fs::remove(top_ / "symlink");
  fs::create_symlink(dir_ / "secret", top_ / "symlink");
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (top_ / "touched").c_str(), times, 0), 0);
  for (const char* name : names) {
    const auto bytes = read(*layer, entry_of(*table, name).extents[0]);
    ASSERT_FALSE(bytes) << name;
    EXPECT_EQ(bytes.error().code, EIO) << name;
    EXPECT_NE(bytes.error().text.find(name), std::string::npos) << bytes.error().text;
  }
}

// runc and docker cp: a directory on the way is swapped for a symlink between the check and the use.
TEST_F(DirectoryLayerTest, Cve2021_30465AndCve2018_15664AndCve2019_14271ASwappedDirectoryLeadsNowhere) {
  fs::create_directories(top_ / "d");
  fs::create_directories(dir_ / "outside");
  test::write_text(top_ / "d/f", "inside");
  const auto layer = open();
  const auto table = layer->index().load_entries();
  // Not a copy: the very file, so that only the way to it differs.
  fs::rename(top_ / "d/f", dir_ / "outside/f");
  fs::remove(top_ / "d");
  fs::create_symlink(dir_ / "outside", top_ / "d");
  const auto bytes = read(*layer, entry_of(*table, "d/f").extents[0]);
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().code, EIO);
}

TEST_F(DirectoryLayerTest, ReadsEndWithTheirFileAndFewStayOpen) {
  constexpr int kFiles = 200;
  for (int i = 0; i < kFiles; ++i) test::write_text(top_ / std::to_string(i), "file " + std::to_string(i));
  const auto layer = open();
  const auto table = layer->index().load_entries();
  for (int i = 0; i < kFiles; ++i) {
    const EntryView entry = entry_of(*table, std::to_string(i));
    EXPECT_EQ(read(*layer, entry.extents[0]), "file " + std::to_string(i));
    std::string room(100, '\0');
    EXPECT_EQ(
        layer->blob().read_blocking(entry.extents[0].stream_offset, std::as_writable_bytes(std::span(room))),
        entry.size_bytes);
  }
  std::size_t open_here = 0;
  for (const auto& one : fs::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    open_here += fs::read_symlink(one, error).string().starts_with(top_.string() + "/") ? 1U : 0U;
  }
  EXPECT_EQ(open_here, DirectoryBlob::kMaxOpenFiles);
}

TEST_F(DirectoryLayerTest, SaysWhatCannotBeServed) {
  EXPECT_EQ(open_directory_layer(dir_ / "none", {.index_dir = dir_ / "index"}).error().code, ENOENT);
  test::write_text(dir_ / "file", "");
  EXPECT_EQ(open_directory_layer(dir_ / "file", {.index_dir = dir_ / "index"}).error().code, ENOTDIR);
  const auto empty = open();
  EXPECT_EQ(empty->index().stream_size_bytes(), 0U);
}

}  // namespace
}  // namespace layerboot::layer
