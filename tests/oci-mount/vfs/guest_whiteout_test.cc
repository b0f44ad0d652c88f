// The guest's own whiteouts (character devices 0:0), as an overlayfs inside the guest makes and reads them:
// seen by it, and never taken for ours.
#include <dirent.h>
#include <linux/fs.h>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

class GuestWhiteoutTest : public WritableFsTest {
 protected:
  bool is_device_zero(std::string_view path) {
    const auto attr = drive().attr(path);
    return S_ISCHR(attr.mode) && attr.rdev == 0;
  }
  /// The type that a listing gives, with and without nodes.
  std::pair<int, int> listed_types(std::string_view name) {
    std::pair<int, int> types{-1, -1};
    for (const bool with_nodes : {false, true}) {
      std::vector<vfs::NodeId> nodes;
      EXPECT_TRUE(fs->readdir(vfs::kRootId, 0, with_nodes, [&](const auto& dirent, const auto& entry) {
        if (dirent.name == name) (with_nodes ? types.second : types.first) = static_cast<int>(dirent.type);
        if (entry.id != 0) nodes.push_back(entry.id);
        return true;
      }));
      for (const auto node : nodes) drive().release(node);
    }
    return types;
  }
  int make_whiteout(std::string_view path) { return drive().mknod(path, S_IFCHR | 0600, 0); }
};

TEST_F(GuestWhiteoutTest, AreSeenAsTheyWereMade) {
  EXPECT_EQ(make_whiteout("own"), 0);
  EXPECT_EQ(make_whiteout("own"), EEXIST);
  EXPECT_EQ(drive().unlink("etc/small"), 0);
  EXPECT_EQ(make_whiteout("etc/small"), 0) << "in the place of one of ours";
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(is_device_zero("own"));
    EXPECT_TRUE(is_device_zero("etc/small"));
    EXPECT_EQ(drive().attr("own").mode, S_IFCHR | 0600U);
    EXPECT_EQ(listed_types("own"), (std::pair<int, int>{DT_CHR, DT_CHR}));
    EXPECT_TRUE(drive().snapshot().contains("/etc/small"));
    EXPECT_EQ(xattr("own", "trusted.overlay.layerboot.char-0-0"), "error: " + std::to_string(ENODATA));
    restart();
  }
  EXPECT_EQ(drive().unlink("own"), 0);
  EXPECT_EQ(drive().unlink("etc/small"), 0);
  EXPECT_EQ(drive().attr("own").ino, 0U);
  restart();
  EXPECT_EQ(drive().attr("etc/small").ino, 0U) << "the image's must not come back";
}

TEST_F(GuestWhiteoutTest, ChangeLikeAnyOther) {
  EXPECT_EQ(make_whiteout("own"), 0);
  EXPECT_EQ(drive().rename("own", "moved"), 0);
  EXPECT_EQ(drive().link("moved", "etc/second"), 0);
  EXPECT_EQ(drive().setxattr("moved", "trusted.x", "y"), 0);
  EXPECT_EQ(drive().setxattr("moved", "user.x", "y"), EPERM);
  vfs::AttrChange change;
  change.uid = 5;
  change.mode = 0640;
  EXPECT_EQ(drive().setattr("moved", change), 0);
  EXPECT_EQ(drive().write("moved", 0, "x"), EINVAL);
  EXPECT_NE(drive().truncate("moved", 5), 0);
  EXPECT_EQ(drive().create("file", "x"), 0);
  EXPECT_EQ(drive().rename("file", "moved"), 0)
      << "a file over a whiteout, as a copy-up of the guest's overlayfs";
  EXPECT_EQ(drive().read("moved"), "x");
  restart();
  EXPECT_TRUE(is_device_zero("etc/second"));
  EXPECT_EQ(drive().attr("etc/second").mode, S_IFCHR | 0640U);
  EXPECT_EQ(drive().attr("etc/second").uid, 5U);
  EXPECT_EQ(drive().attr("etc/second").nlink, 1U);
  EXPECT_EQ(drive().read("moved"), "x");
}

TEST_F(GuestWhiteoutTest, RenameLeavesOne) {
  EXPECT_EQ(drive().create("own", "x"), 0);
  EXPECT_EQ(drive().rename("own", "moved", RENAME_WHITEOUT), 0);
  EXPECT_EQ(drive().rename("etc/small", "small", RENAME_WHITEOUT | RENAME_NOREPLACE), 0);
  EXPECT_EQ(drive().rename("deep", "deeper", RENAME_WHITEOUT), 0);
  EXPECT_EQ(drive().create("over", "old"), 0);
  EXPECT_EQ(drive().rename("moved", "over", RENAME_WHITEOUT), 0);
  EXPECT_EQ(drive().rename("over", "small", RENAME_WHITEOUT | RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(drive().rename("over", "small", RENAME_WHITEOUT | RENAME_EXCHANGE), EINVAL);
  for (int i = 0; i < 2; ++i) {
    for (const char* path : {"own", "etc/small", "deep", "moved"}) EXPECT_TRUE(is_device_zero(path)) << path;
    EXPECT_EQ(drive().read("over"), "x");
    EXPECT_EQ(drive().read("small"), lower_small());
    EXPECT_EQ(drive().read("deeper/er/est/file"), "far down");
    restart();
  }
}

TEST_F(GuestWhiteoutTest, AFileWithTheGuestsOwnMarkStaysAFile) {
  EXPECT_EQ(drive().create("file", ""), 0);
  EXPECT_EQ(drive().setxattr("file", "trusted.overlay.whiteout", "y"), 0);
  EXPECT_EQ(drive().setxattr("file", "trusted.overlay.layerboot.char-0-0", "y"), 0);
  restart();
  EXPECT_TRUE(S_ISREG(drive().attr("file").mode));
  EXPECT_EQ(xattr("file", "trusted.overlay.whiteout"), "y");
}

}  // namespace
}  // namespace layerboot::test
