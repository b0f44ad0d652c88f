#include "oci-mount/vfs/read_only_fs.h"

#include <linux/limits.h>

#include <algorithm>

#include "tests/oci-mount/vfs/every_method.h"
#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

const std::set<std::string> kChanges = {"setattr",     "setattr size", "write",     "fallocate", "setxattr",
                                        "removexattr", "mknod",        "mkdir",     "symlink",   "link",
                                        "link to",     "rename",       "rename to", "rmdir",     "unlink"};

/// Of names with a NUL behind each.
std::set<std::string> split_names(std::string_view text) {
  std::set<std::string> names;
  for (; !text.empty(); text.remove_prefix(std::min(text.size(), text.find('\0') + 1)))
    names.emplace(text.substr(0, text.find('\0')));
  return names;
}

class ReadOnlyFsTest : public testing::Test, protected ImageFixture {
 protected:
  ReadOnlyFsTest() : ImageFixture(test_image()) {
    auto made = vfs::make_read_only_fs(*source);
    EXPECT_TRUE(made);
    fs = std::move(*made);
    driver = std::make_unique<FsDriver>(*fs);
  }
};

TEST_F(ReadOnlyFsTest, EveryChangeIsRefused) {
  const auto before = driver->snapshot();
  const auto small = driver->acquire("etc/small");
  for (const char* path : {"etc", "etc/small", "etc/link", ""}) {
    const auto node = driver->acquire(path);
    for_every_method(*fs, *driver->reactor, node, small, [&](const char* method, int code) {
      if (kChanges.contains(method)) {
        EXPECT_EQ(code, EROFS) << method << " of " << path;
      }
    });
  }
  EXPECT_EQ(code_of(fs->create(driver->acquire("etc"), "new", 0644, false, {})), EROFS);
  EXPECT_EQ(code_of(fs->create(driver->acquire("etc"), "small", 0644, true, {})), EEXIST);
  EXPECT_TRUE(fs->create(driver->acquire("etc"), "small", 0644, false, {}));
  EXPECT_EQ(code_of(fs->tmpfile(vfs::kRootId, 0600, {})), EOPNOTSUPP);
  EXPECT_EQ(driver->snapshot(), before);
}

TEST_F(ReadOnlyFsTest, ForgedNumbersAreStale) {
  for (const vfs::NodeId id : {std::uint64_t{0}, std::uint64_t{100'000}, std::uint64_t{UINT32_MAX} + 2,
                               std::uint64_t{1} << 40, UINT64_MAX}) {
    for_every_method(*fs, *driver->reactor, id, 1, [&](const char* method, int code) {
      if (kChanges.contains(method) || std::string_view(method) == "tmpfile") {
        EXPECT_NE(code, 0) << method;
      } else if (std::string_view(method) != "fsync" && std::string_view(method) != "fsyncdir") {
        EXPECT_EQ(code, ESTALE) << method << " of " << id;
      }
    });
    fs->forget(id, 3);
  }
}

TEST_F(ReadOnlyFsTest, BadNamesAreErrors) {
  const auto etc = driver->acquire("etc");
  for (const auto& name : bad_names()) {
    EXPECT_EQ(code_of(fs->lookup(etc, name)), name.size() > 255 ? ENAMETOOLONG : EINVAL) << name;
  }
  EXPECT_EQ(fs->lookup(etc, "none")->id, 0U);
  EXPECT_EQ(code_of(fs->lookup(driver->acquire("etc/small"), "x")), ENOTDIR);
}

TEST_F(ReadOnlyFsTest, ListsFromAnyCookie) {
  const auto etc = driver->acquire("etc");
  EXPECT_EQ(driver->list("etc").size(), 4U);
  for (const std::uint64_t cookie : {std::uint64_t{5}, std::uint64_t{1000}, UINT64_MAX - 2, UINT64_MAX}) {
    EXPECT_TRUE(fs->readdir(etc, cookie, true, [](const vfs::Dirent&, const vfs::Entry&) { return true; }));
  }
  EXPECT_EQ(driver->read("deep/er/est/file"), "far down");
  EXPECT_EQ(fs->statfs()->blocks_free, 0U);
}

// Anything but ENODATA to the question for a file's ACL is the error of whoever opens it.
TEST_F(ReadOnlyFsTest, AnXattrThatIsNotThereIsNoDataAlsoWhereTheImageHasNone) {
  EXPECT_EQ(code_of(fs->getxattr(driver->acquire("etc/small"), "user.a")), ENODATA);
  EXPECT_EQ(*fs->listxattr(driver->acquire("etc/small")), "");
  TarMember marked;
  marked.name = "marked";
  marked.pax = {{"SCHILY.xattr.user.a", "value"}};
  ImageFixture other({TarBuilder().file("plain", "").add(marked).finish()});
  const auto with_one = vfs::make_read_only_fs(*other.source);
  ASSERT_TRUE(with_one);
  FsDriver other_driver(**with_one);
  EXPECT_EQ(code_of((*with_one)->getxattr(other_driver.acquire("plain"), "user.a")), ENODATA);
  EXPECT_EQ(*(*with_one)->getxattr(other_driver.acquire("marked"), "user.a"), "value");
}

TEST_F(ReadOnlyFsTest, WhereAttributesAreIsTold) {
  EXPECT_EQ(fs->attributed_paths(XATTR_SIZE_MAX).value_or("?"), "");
  TarMember marked;
  marked.name = "bin/marked";
  marked.pax = {{"SCHILY.xattr.user.a", "value"}};
  TarMember unseen = marked;
  unseen.name = "bin/unseen";
  unseen.pax = {{"SCHILY.xattr.system.other", "not served"}};
  TarMember above = marked;
  above.name = "var/";
  above.type = '5';
  ImageFixture other({TarBuilder()
                          .file("plain", "")
                          .add(marked)
                          .add(unseen)
                          .hard_link("again", "bin/marked")
                          .add(above)
                          .finish()});
  const auto with_some = vfs::make_read_only_fs(*other.source);
  ASSERT_TRUE(with_some);
  EXPECT_EQ(split_names((*with_some)->attributed_paths(XATTR_SIZE_MAX).value_or("?")),
            (std::set<std::string>{"again", "bin/marked", "var"}));
  EXPECT_EQ(code_of((*with_some)->attributed_paths(20)), E2BIG);
}

// What can be set later can't be told for good.
TEST_F(WritableFsTest, WhereAttributesMayChangeNothingIsToldOfThem) {
  EXPECT_EQ(code_of(fs->attributed_paths(XATTR_SIZE_MAX)), ENODATA);
}

}  // namespace
}  // namespace layerboot::test
