// Copy-up: when it happens, and that nobody notices.
#include <sys/stat.h>

#include "oci-mount/overlay/node.h"
#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

using CopyUpTest = WritableFsTest;

TEST_F(CopyUpTest, LookingNeverCopies) {
  drive().snapshot();
  EXPECT_EQ(drive().read("etc/small"), lower_small());
  EXPECT_TRUE(drive().read("etc/big") == lower_big());
  const auto node = drive().acquire("etc/small");
  EXPECT_TRUE(fs->lseek(node, 0, SEEK_HOLE));
  EXPECT_TRUE(wait(fs->fsync(*drive().reactor, node, false)));
  EXPECT_TRUE(
      fs->create(drive().acquire("etc"), "small", 0644, false, {}));  // open(O_CREAT) of what is there
  EXPECT_FALSE(fs->create(drive().acquire("etc"), "small", 0644, true, {}));
  EXPECT_TRUE(upper_is_empty());
  EXPECT_EQ(booked(), nothing());
}

TEST_F(CopyUpTest, RefusedChangesDoNotCopy) {
  EXPECT_EQ(drive().mkdir("etc"), EEXIST);
  EXPECT_EQ(drive().rmdir("etc"), ENOTEMPTY);
  EXPECT_EQ(drive().unlink("etc"), EISDIR);
  EXPECT_EQ(drive().unlink("etc/none"), ENOENT);
  EXPECT_EQ(drive().link("etc/small", "etc/link"), EEXIST);
  EXPECT_EQ(drive().link("etc", "etc2"), EPERM);
  EXPECT_EQ(drive().removexattr("etc/small", "user.none"), ENODATA);
  EXPECT_TRUE(upper_is_empty());
}

TEST_F(CopyUpTest, TheFirstChangeCopiesTheFileAndItsDirectories) {
  EXPECT_EQ(drive().write("deep/er/est/file", 0, "FAR"), 0);
  EXPECT_EQ(drive().read("deep/er/est/file"), "FAR down");
  EXPECT_EQ(upper_entries(), 4U);
  EXPECT_EQ(read_text(upper("deep/er/est/file")), "FAR down");
  EXPECT_TRUE(std::filesystem::is_empty(directory / "vm/work"));
}

TEST_F(CopyUpTest, NumbersAndTimesOfOthersStay) {
  const auto directory_before = drive().attr("deep/er/est");
  const auto before = drive().attr("deep/er/est/file");
  EXPECT_EQ(set_mode("deep/er/est/file", 0600), 0);
  const auto after = drive().attr("deep/er/est/file");
  EXPECT_EQ(after.ino, before.ino);
  EXPECT_EQ(after.mtime, before.mtime);
  EXPECT_EQ(after.mode, static_cast<std::uint32_t>(S_IFREG | 0600));
  EXPECT_EQ(drive().attr("deep/er/est").mtime, directory_before.mtime) << "placing a copy is no change";
  EXPECT_EQ(drive().attr("deep/er/est").ino, directory_before.ino);
}

TEST_F(CopyUpTest, NodeAndNumberAreStableAcrossCopyUpRenameAndRestart) {
  const auto file = drive().attr("etc/small").ino;
  const auto moved_directory = drive().attr("deep/er").ino;
  const auto node = drive().acquire("etc/small");
  EXPECT_EQ(node, file);
  EXPECT_EQ(write_node(node, 0, "THE"), 0);
  EXPECT_EQ(drive().rename("etc/small", "links/moved"), 0);
  EXPECT_EQ(drive().rename("deep/er", "moved"), 0);
  EXPECT_EQ(drive().create("born", "in the upper"), 0);
  EXPECT_EQ(drive().rename("born", "etc/born"), 0);
  const auto born = drive().attr("etc/born").ino;
  EXPECT_EQ(fs->getattr(node)->ino, file);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(drive().attr("links/moved").ino, file);
    EXPECT_EQ(drive().acquire("links/moved"), file);
    EXPECT_EQ(drive().attr("moved").ino, moved_directory);
    EXPECT_EQ(drive().attr("etc/born").ino, born);
    EXPECT_EQ(drive().read("moved/est/file"), "far down");
    if (i == 0) fs->reset();
    if (i == 1) restart();
  }
}

// A 32-bit program gets EOVERFLOW for a number over 2^32, and an overlayfs above wants the upper bits.
TEST_F(CopyUpTest, NumbersOfNewFilesAreNoLargerThanTheHostsAndTheImages) {
  ASSERT_EQ(drive().create("born", ""), 0);
  const auto ino = drive().attr("born").ino;
  struct stat st{};
  ASSERT_EQ(::stat(upper("born").c_str(), &st), 0);
  EXPECT_EQ(ino, overlay::kUpperInoBase + st.st_ino);
  EXPECT_LE(overlay::kUpperInoBase, std::uint64_t{1} << 24);
  EXPECT_NE(drive().acquire("born"), ino) << "node ids are apart";
}

TEST_F(CopyUpTest, ListingAndAttributesAgreeOnNumbers) {
  EXPECT_EQ(drive().write("etc/small", 0, "x"), 0);
  EXPECT_EQ(drive().create("etc/born", "x"), 0);
  for (int i = 0; i < 2; ++i) {
    const auto etc = drive().acquire("etc");
    std::map<std::string, std::uint64_t> listed;
    EXPECT_TRUE(fs->readdir(etc, 0, false, [&](const vfs::Dirent& dirent, const vfs::Entry&) {
      listed[std::string(dirent.name)] = dirent.ino;
      return true;
    }));
    for (const char* name : {"small", "big", "born"}) {
      // A copied-up file that nobody looked at yet is listed by the host's number.
      const auto ino = drive().attr(std::string("etc/") + name).ino;
      if (i == 0 || std::string(name) != "small") {
        EXPECT_EQ(listed[name], ino) << name;
      }
    }
    restart();
  }
}

TEST_F(CopyUpTest, HardLinksStayLinked) {
  const auto ino = drive().attr("links/a").ino;
  EXPECT_EQ(drive().attr("links2/c").nlink, 3U);
  EXPECT_EQ(drive().write("links/b", 0, "HARD"), 0);
  for (int i = 0; i < 2; ++i) {
    for (const char* path : {"links/a", "links/b", "links2/c"}) {
      EXPECT_EQ(drive().read(path), "HARD-linked") << path;
      EXPECT_EQ(drive().attr(path).nlink, 3U) << path;
      EXPECT_EQ(drive().attr(path).ino, ino) << path;
    }
    restart();
  }
  EXPECT_EQ(drive().unlink("links/a"), 0);
  EXPECT_EQ(drive().write("links2/c", 0, "soft"), 0);
  EXPECT_EQ(drive().read("links/b"), "soft-linked");
  EXPECT_EQ(drive().attr("links/b").nlink, 2U);
}

TEST_F(CopyUpTest, HardLinksStayLinkedWhenANameWasRemovedOrMovedBefore) {
  EXPECT_EQ(drive().unlink("links/a"), 0);
  EXPECT_EQ(drive().attr("links/b").nlink, 2U);
  EXPECT_EQ(drive().rename("links2", "moved"), 0);
  EXPECT_EQ(drive().write("links/b", 0, "HARD"), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(drive().read("moved/c"), "HARD-linked");
    EXPECT_EQ(drive().read("links/a"), "error: " + std::to_string(ENOENT));
    EXPECT_EQ(drive().attr("moved/c").nlink, 2U);
    restart();
  }
}

// After a restart nothing but the redirect knows where the other name is now.
TEST_F(CopyUpTest, HardLinksInARenamedDirectoryAreFoundAfterARestart) {
  EXPECT_EQ(drive().mkdir("new"), 0);
  EXPECT_EQ(drive().rename("links2", "new/moved"), 0);
  for (const bool whole : {true, false}) {
    if (whole) {
      restart();
    } else {
      fs->reset();
    }
    EXPECT_EQ(drive().write("links/b", 0, whole ? "HARD" : "firm"), 0);
  }
  restart();
  EXPECT_EQ(drive().read("new/moved/c"), "firm-linked");
  EXPECT_EQ(drive().attr("new/moved/c").nlink, 3U);
}

// As a crash leaves it between the first name of a copy and the others.
TEST_F(CopyUpTest, HardLinksThatACrashSplitAreOneFileAfterTheNextStart) {
  const auto ino = drive().attr("links/a").ino;
  EXPECT_EQ(drive().write("links/b", 0, "HARD"), 0);
  for (const bool whole : {true, false}) {
    driver.reset();
    fs.reset();
    ASSERT_TRUE(std::filesystem::remove(upper("links2/c")));
    if (whole) {
      ASSERT_TRUE(std::filesystem::remove(upper("links/a")));
    }
    restart();
    for (const char* path : {"links/a", "links/b", "links2/c"}) {
      EXPECT_EQ(drive().read(path), "HARD-linked") << path;
      EXPECT_EQ(drive().attr(path).nlink, 3U) << path;
      EXPECT_EQ(drive().attr(path).ino, ino) << path;
    }
    expect_usage_agrees();
  }
  EXPECT_EQ(drive().unlink("links/a"), 0);
  restart();
  EXPECT_EQ(drive().attr("links/b").nlink, 2U) << "a name that was removed does not come back";
}

TEST_F(CopyUpTest, TruncationCopiesWhatIsKept) {
  EXPECT_EQ(drive().truncate("etc/big", 100), 0);
  EXPECT_TRUE(drive().read("etc/big") == lower_big().substr(0, 100));
  EXPECT_EQ(drive().truncate("etc/small", 100), 0);
  EXPECT_TRUE(drive().read("etc/small") == lower_small() + std::string(100 - lower_small().size(), '\0'));
}

TEST_F(CopyUpTest, ModesSurviveOwnersAndWritesKillThemWhenAsked) {
  vfs::AttrChange owner;
  owner.uid = 1000;
  EXPECT_EQ(drive().setattr("etc/setid", owner), 0);
  EXPECT_EQ(drive().attr("etc/setid").mode & 07777U, 06755U) << "only the client says when these go";
  const auto node = drive().acquire("etc/setid");
  EXPECT_EQ(write_node(node, 0, "x", vfs::Writer::kPrivileged), 0);
  EXPECT_EQ(fs->getattr(node)->mode & 07777U, 06755U);
  EXPECT_EQ(write_node(node, 0, "x", vfs::Writer::kUnprivileged), 0);
  EXPECT_EQ(fs->getattr(node)->mode & 07777U, 0755U);
  EXPECT_EQ(set_mode("etc/setid", 06745), 0);
  vfs::AttrChange cut;
  cut.size_bytes = 1;
  cut.kill_suid_sgid = true;
  EXPECT_EQ(drive().setattr("etc/setid", cut), 0);
  EXPECT_EQ(drive().attr("etc/setid").mode & 07777U, 02745U)
      << "not group-executable: that is mandatory locking";
}

TEST_F(CopyUpTest, SetgidDirectoriesHandDownTheirGroup) {
  vfs::AttrChange shared;
  shared.gid = 500;
  shared.mode = 02777;
  EXPECT_EQ(drive().mkdir("shared"), 0);
  EXPECT_EQ(drive().setattr("shared", shared), 0);
  EXPECT_EQ(drive().attr("shared").mode & 07777U, 02777U);
  const auto parent = drive().acquire("shared");
  const vfs::Caller stranger{.uid = 1000, .gid = 1000};
  const auto file = fs->create(parent, "file", 02755, true, stranger);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->attr.gid, 500U);
  EXPECT_EQ(file->attr.uid, 1000U);
  EXPECT_EQ(file->attr.mode & 07777U, 0755U) << "CVE-2022-0358: not of the group, no setgid program of it";
  const auto node = fs->mknod(parent, "node", S_IFREG | 02755, 0, stranger);
  ASSERT_TRUE(node);
  EXPECT_EQ(node->attr.mode & 07777U, 0755U);
  const auto member = fs->create(parent, "member", 02755, true, {.uid = 1000, .gid = 500});
  ASSERT_TRUE(member);
  EXPECT_EQ(member->attr.mode & 07777U, 02755U);
  const auto sub = fs->mkdir(parent, "sub", 0755, stranger);
  ASSERT_TRUE(sub);
  EXPECT_EQ(sub->attr.mode & 07777U, 02755U);
  EXPECT_EQ(sub->attr.gid, 500U);
  const auto nameless = fs->tmpfile(parent, 02755, stranger);
  ASSERT_TRUE(nameless);
  EXPECT_EQ(nameless->attr.gid, 500U);
  EXPECT_EQ(nameless->attr.mode & 07777U, 0755U);
}

/// renameat2(2) with RENAME_WHITEOUT makes an inode each time, which the budget does not know of.
TEST_F(CopyUpTest, WhiteoutsThatARenameLeavesShareOneInode) {
  ASSERT_EQ(drive().unlink("etc/small"), 0);
  ASSERT_EQ(drive().rename("etc/big", "moved"), 0);
  struct stat removed{};
  struct stat left{};
  ASSERT_EQ(::lstat(upper("etc/small").c_str(), &removed), 0);
  ASSERT_EQ(::lstat(upper("etc/big").c_str(), &left), 0);
  EXPECT_EQ(left.st_ino, removed.st_ino);
  EXPECT_EQ(left.st_mode & S_IFMT, removed.st_mode & S_IFMT);
}

}  // namespace
}  // namespace layerboot::test
