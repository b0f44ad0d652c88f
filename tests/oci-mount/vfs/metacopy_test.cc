// Metacopies: what leaves a file's data as it is copies none of it, and nobody can tell.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/oci-mount/vfs/writable_fixture.h"
#include "tests/support/acl_text.h"

namespace layerboot::test {
namespace {

/// What attributes may take outside the inode.
constexpr std::uint64_t kXattrBlockBytes = 4096;

class MetacopyTest : public WritableFsTest {
 protected:
  bool is_metacopy(const std::string& path) { return host_xattr(upper(path), marks().metacopy).empty(); }
  std::uint64_t host_bytes(const std::string& path) {
    struct stat st{};
    EXPECT_EQ(::lstat(upper(path).c_str(), &st), 0) << path;
    return static_cast<std::uint64_t>(st.st_blocks) * 512;
  }
  void expect_metacopy_of_big(const std::string& path) {
    EXPECT_TRUE(is_metacopy(path)) << path;
    EXPECT_LE(host_bytes(path), kXattrBlockBytes) << path;
    expect_reads_big(path);
  }
  void expect_reads_big(const std::string& path) {
    EXPECT_TRUE(drive().read(path) == lower_big()) << path;
    EXPECT_EQ(drive().attr(path).size_bytes, lower_big().size());
    EXPECT_GE(drive().attr(path).blocks * 512, lower_big().size()) << "no hole to tar and cp";
  }
  int set_mtime(const std::string& path, std::int64_t seconds) {
    vfs::AttrChange change;
    change.mtime = vfs::TimeChange{.now = false, .time = {seconds, 5}};
    return drive().setattr(path, change);
  }
};

TEST_F(MetacopyTest, WhatLeavesTheDataAloneCopiesNone) {
  vfs::AttrChange owner;
  owner.uid = 1000;
  const std::vector<std::function<int()>> changes = {
      [&] { return set_mode("etc/big", 0600); },
      [&] { return drive().setattr("etc/big", owner); },
      [&] { return set_mtime("etc/big", 77); },
      [&] { return drive().setxattr("etc/big", "user.a", "b"); },
      [&] { return drive().setxattr("etc/big", "system.posix_acl_access", acl_with_user(7, 4, 4)); },
      [&] { return drive().removexattr("etc/big", "user.a"); }};
  for (const auto& change : changes) {
    EXPECT_EQ(change(), 0);
    expect_metacopy_of_big("etc/big");
  }
  EXPECT_LE(booked().bytes, 3 * kXattrBlockBytes) << "with its directory";
  restart();
  expect_metacopy_of_big("etc/big");
  EXPECT_EQ(drive().attr("etc/big").mtime, (vfs::Time{77, 5}));
  EXPECT_EQ(drive().attr("etc/big").uid, 1000U);
}

TEST_F(MetacopyTest, AFileWithoutDataIsNone) {
  EXPECT_EQ(drive().create("own", "x"), 0);
  EXPECT_EQ(set_mode("own", 0600), 0);
  EXPECT_FALSE(is_metacopy("own"));
  EXPECT_EQ(drive().truncate("etc/small", 0), 0);
  EXPECT_FALSE(is_metacopy("etc/small"));
  EXPECT_EQ(drive().read("etc/small"), "");
}

TEST_F(MetacopyTest, TheFirstChangeOfDataFillsIt) {
  const auto ino = drive().attr("etc/big").ino;
  EXPECT_EQ(set_mode("etc/big", 0640), 0);
  std::string expected = lower_big();
  expected.replace(1'000'000, 3, "NEW");
  EXPECT_EQ(drive().write("etc/big", 1'000'000, "NEW"), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(is_metacopy("etc/big"));
    EXPECT_TRUE(drive().read("etc/big") == expected);
    EXPECT_EQ(drive().attr("etc/big").ino, ino);
    EXPECT_EQ(drive().attr("etc/big").mode & 07777U, 0640U);
    restart();
  }
}

TEST_F(MetacopyTest, FallocateAndTruncationFillItToo) {
  EXPECT_EQ(set_mode("etc/big", 0640), 0);
  const auto node = drive().acquire("etc/big");
  EXPECT_TRUE(wait(fs->fallocate(*drive().reactor, node, 0, 2'500'000, 100)));
  EXPECT_TRUE(drive().read("etc/big") == lower_big() + std::string(100, '\0'));
  EXPECT_EQ(set_mode("etc/small", 0640), 0);
  EXPECT_EQ(drive().truncate("etc/small", 100), 0);
  EXPECT_EQ(drive().read("etc/small"), lower_small() + std::string(100 - lower_small().size(), '\0'));
  EXPECT_FALSE(is_metacopy("etc/small"));
}

TEST_F(MetacopyTest, ATruncationCopiesWhatIsKept) {
  open_writable(1 << 20, kTestQuotaInodes);  // less than the file
  EXPECT_EQ(set_mode("etc/big", 0640), 0);
  EXPECT_EQ(drive().truncate("etc/big", 1000), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(is_metacopy("etc/big"));
    EXPECT_TRUE(drive().read("etc/big") == lower_big().substr(0, 1000));
    restart();
  }
}

TEST_F(MetacopyTest, HolesAreTheImages) {
  EXPECT_EQ(set_mode("etc/big", 0640), 0);
  const auto node = drive().acquire("etc/big");
  EXPECT_EQ(*fs->lseek(node, 0, SEEK_DATA), 0U);
  EXPECT_EQ(*fs->lseek(node, 0, SEEK_HOLE), lower_big().size());
  EXPECT_TRUE(wait(fs->fsync(*drive().reactor, node, false)));
}

TEST_F(MetacopyTest, ItMovesWithoutItsData) {
  EXPECT_EQ(drive().rename("etc/big", "deep/er/moved"), 0);
  EXPECT_EQ(host_xattr(upper("deep/er/moved"), marks().redirect), "/etc/big");
  EXPECT_EQ(drive().rename("deep/er", "elsewhere"), 0);
  EXPECT_EQ(drive().mkdir("own"), 0);
  EXPECT_EQ(drive().rename("elsewhere/moved", "own/again"), 0);
  EXPECT_EQ(drive().create("etc/big", "another"), 0);
  for (int i = 0; i < 2; ++i) {
    expect_metacopy_of_big("own/again");
    EXPECT_EQ(drive().read("etc/big"), "another");
    restart();
  }
  EXPECT_EQ(drive().rename("own/again", "etc/big", RENAME_EXCHANGE), 0);
  for (int i = 0; i < 2; ++i) {
    expect_metacopy_of_big("etc/big");
    EXPECT_EQ(drive().read("own/again"), "another");
    restart();
  }
}

TEST_F(MetacopyTest, ItTakesFurtherNames) {
  EXPECT_EQ(drive().link("etc/big", "deep/backup"), 0);
  for (int i = 0; i < 2; ++i) {
    expect_metacopy_of_big("deep/backup");
    expect_metacopy_of_big("etc/big");
    EXPECT_EQ(drive().attr("etc/big").nlink, 2U);
    EXPECT_EQ(drive().attr("etc/big").ino, drive().attr("deep/backup").ino);
    restart();
  }
  EXPECT_EQ(drive().unlink("etc/big"), 0);
  restart();
  expect_metacopy_of_big("deep/backup");
  EXPECT_EQ(drive().write("deep/backup", 0, "x"), 0);
  EXPECT_EQ(drive().read("deep/backup"), "x" + lower_big().substr(1));
}

TEST_F(MetacopyTest, TheImagesHardLinksStayOneFile) {
  EXPECT_EQ(set_mode("links/b", 0600), 0);
  for (int i = 0; i < 3; ++i) {
    for (const char* path : {"links/a", "links/b", "links2/c"}) {
      EXPECT_TRUE(is_metacopy(path)) << path;
      EXPECT_EQ(drive().read(path), "hard-linked") << path;
      EXPECT_EQ(drive().attr(path).nlink, 3U) << path;
      EXPECT_EQ(drive().attr(path).mode & 07777U, 0600U) << path;
    }
    i == 0 ? fs->reset() : restart();
  }
  EXPECT_EQ(drive().write("links2/c", 0, "HARD"), 0);
  restart();
  for (const char* path : {"links/a", "links/b", "links2/c"}) EXPECT_EQ(drive().read(path), "HARD-linked");
}

TEST_F(MetacopyTest, OpenAndUnlinkedItCanStillBeReadWrittenAndNamed) {
  EXPECT_EQ(set_mode("etc/big", 0600), 0);
  EXPECT_EQ(set_mode("etc/small", 0600), 0);
  const auto big = drive().acquire("etc/big");
  const auto small = drive().acquire("etc/small");
  EXPECT_EQ(drive().unlink("etc/big"), 0);
  EXPECT_EQ(drive().unlink("etc/small"), 0);
  EXPECT_TRUE(drive().read_node(big) == lower_big());
  EXPECT_EQ(write_node(small, 0, "THE"), 0);
  EXPECT_EQ(drive().read_node(small), "THE" + lower_small().substr(3));
  EXPECT_TRUE(wait(fs->link(*drive().reactor, big, vfs::kRootId, "named")));
  restart();
  expect_metacopy_of_big("named");
}

TEST_F(MetacopyTest, WithoutRoomForItsDataItStaysAsItIs) {
  open_writable(1 << 20, kTestQuotaInodes);
  EXPECT_EQ(
      drive().setxattr("etc/big", "security.capability", std::string("\1\0\0\2", 4) + std::string(16, '\0')),
      0);
  EXPECT_EQ(set_mtime("etc/big", 77), 0);
  const auto capability = xattr("etc/big", "security.capability");
  EXPECT_EQ(drive().write("etc/big", 0, "x"), ENOSPC);
  expect_metacopy_of_big("etc/big");
  EXPECT_EQ(drive().attr("etc/big").mtime, (vfs::Time{77, 5}));
  EXPECT_EQ(xattr("etc/big", "security.capability"), capability);
  restart();
  expect_metacopy_of_big("etc/big");
}

// Filled but not written to: what the guest can see of it is as before.
TEST_F(MetacopyTest, FillingIsNoChange) {
  EXPECT_EQ(set_mtime("etc/big", 77), 0);
  EXPECT_EQ(drive().setxattr("etc/big", "user.a", "b"), 0);
  const auto node = drive().acquire("etc/big");
  const iovec nothing{nullptr, 0};
  EXPECT_EQ(code_of(wait(fs->write(*drive().reactor, node, 0, {&nothing, 0}, vfs::Writer::kPrivileged))), 0);
  EXPECT_FALSE(is_metacopy("etc/big"));
  expect_reads_big("etc/big");
  EXPECT_EQ(drive().attr("etc/big").mtime, (vfs::Time{77, 5}));
}

TEST_F(MetacopyTest, ChangesWhileItIsFilledStay) {
  EXPECT_EQ(set_mode("etc/big", 0600), 0);
  const auto node = drive().acquire("etc/big");
  Reactor& ring = *drive().reactor;
  char byte = 'x';
  const iovec piece{&byte, 1};
  int left = 2;
  const auto done = [&](const auto& result) {
    EXPECT_TRUE(result);
    if (--left == 0) ring.stop();
  };
  start(fs->fallocate(ring, node, FALLOC_FL_KEEP_SIZE, 0, 1), done);  // sets no times
  vfs::AttrChange change;
  change.mode = 0755;
  change.mtime = vfs::TimeChange{.now = false, .time = {99, 0}};
  start(fs->setattr(ring, node, change), done);
  ring.run();
  EXPECT_FALSE(is_metacopy("etc/big"));
  expect_reads_big("etc/big");
  EXPECT_EQ(fs->getattr(node)->mode & 07777U, 0755U);
  EXPECT_EQ(wait(fs->write(ring, node, 0, {&piece, 1}, vfs::Writer::kPrivileged)).value_or(0), 1U);
}

TEST_F(MetacopyTest, ACapabilityThatIsTakenWhileItIsFilledStaysAway) {
  if (::geteuid() != 0) GTEST_SKIP() << "an ordinary user's upper keeps capabilities under another name";
  EXPECT_EQ(set_mode("etc/big", 0755), 0);
  ASSERT_EQ(
      drive().setxattr("etc/big", "security.capability", std::string("\1\0\0\2", 4) + std::string(16, '\0')),
      0);
  const auto node = drive().acquire("etc/big");
  Reactor& ring = *drive().reactor;
  char byte = 'x';
  const iovec piece{&byte, 1};
  int left = 2;
  const auto done = [&](const auto& result) {
    EXPECT_TRUE(result);
    if (--left == 0) ring.stop();
  };
  start(fs->write(ring, node, 0, {&piece, 1}, vfs::Writer::kPageCache), done);
  vfs::AttrChange change;
  change.uid = 1000;
  start(fs->setattr(ring, node, change), done);
  ring.run();
  EXPECT_EQ(fs->getattr(node)->uid, 1000U);
  EXPECT_EQ(code_of(fs->getxattr(node, "security.capability")), ENODATA);
  EXPECT_EQ(host_xattr(upper("etc/big"), "security.capability"), "none");
}

TEST_F(MetacopyTest, ACapabilityThatIsSetWhileItIsFilledIsKept) {
  EXPECT_EQ(set_mode("etc/big", 0755), 0);
  const auto node = drive().acquire("etc/big");
  Reactor& ring = *drive().reactor;
  const std::string capability = std::string("\1\0\0\2", 4) + std::string(16, '\0');
  char byte = 'x';
  const iovec piece{&byte, 1};
  int left = 2;
  const auto done = [&](const auto& result) {
    EXPECT_TRUE(result) << result.error().describe();
    if (--left == 0) ring.stop();
  };
  start(fs->write(ring, node, 0, {&piece, 1}, vfs::Writer::kPageCache), done);
  start(fs->setxattr(ring, node, "security.capability", capability, 0), done);
  ring.run();
  EXPECT_EQ(fs->getxattr(node, "security.capability").value_or(""), capability);
  EXPECT_TRUE(drive().read("etc/big") == "x" + lower_big().substr(1));
}

// ---- what a crash leaves (metacopy.cc)

TEST_F(MetacopyTest, ACrashWhileItIsFilledLeavesTheMetacopy) {
  EXPECT_EQ(set_mode("etc/big", 0600), 0);
  driver.reset();
  fs.reset();
  const UniqueFd fd(::open(upper("etc/big").c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(fd.get(), "half of it", 10, 4096), 10);
  restart();
  EXPECT_TRUE(is_metacopy("etc/big"));
  expect_reads_big("etc/big");
  EXPECT_EQ(drive().write("etc/big", 0, "x"), 0);
  EXPECT_TRUE(drive().read("etc/big") == "x" + lower_big().substr(1));
}

TEST_F(MetacopyTest, ACrashBeforeTheMarkGoesLeavesTheTruncatedFile) {
  EXPECT_EQ(set_mode("etc/big", 0600), 0);
  driver.reset();
  fs.reset();
  const UniqueFd fd(::open(upper("etc/big").c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::ftruncate(fd.get(), 0), 0);
  ASSERT_EQ(::pwrite(fd.get(), lower_big().data(), 100, 0), 100);
  restart();
  EXPECT_TRUE(drive().read("etc/big") == lower_big().substr(0, 100));
  EXPECT_FALSE(is_metacopy("etc/big"));
}

/// What was below them is gone: what can't be read can be told, moved, replaced and removed all the same.
TEST_F(MetacopyTest, OneOfNothingIsAnErrorToReadAndNothingElse) {
  const std::vector<std::string> names{"big", "small", "setid"};
  for (const auto& name : names) EXPECT_EQ(set_mode("etc/" + name, 0600), 0);
  driver.reset();
  fs.reset();
  const std::string nowhere = "/etc/none";
  for (const auto& name : names) {
    ASSERT_EQ(::lsetxattr(upper("etc/" + name).c_str(), std::string(marks().redirect).c_str(), nowhere.data(),
                          nowhere.size(), 0),
              0);
  }
  restart();
  for (const auto& name : names) {
    EXPECT_TRUE(drive().read("etc/" + name).starts_with("error")) << name;
    EXPECT_EQ(drive().attr("etc/" + name).mode, S_IFREG | 0600U);
    EXPECT_EQ(drive().write("etc/" + name, 0, "x"), EIO);
    EXPECT_EQ(set_mode("etc/" + name, 0640), 0);
  }
  EXPECT_EQ(drive().list("etc").size(), 4U) << "the names do not vanish";
  EXPECT_EQ(drive().unlink("etc/big"), 0);
  EXPECT_EQ(drive().truncate("etc/setid", 0), 0) << "nothing of what is lost is wanted";
  EXPECT_EQ(drive().write("etc/setid", 0, "anew"), 0);
  EXPECT_EQ(drive().rename("etc/small", "moved"), 0);
  restart();
  EXPECT_EQ(drive().read("etc/setid"), "anew");
  EXPECT_TRUE(drive().read("moved").starts_with("error"));
  EXPECT_EQ(drive().create("new", "new"), 0);
  EXPECT_EQ(drive().rename("new", "moved"), 0);
  EXPECT_EQ(drive().read("moved"), "new");
}

class MetacopyBelowAddedLayerTest : public MetacopyTest {
 protected:
  void restart_below(const std::string& content) {
    restart_with(TarBuilder().directory("links").file("links/a", content).finish());
  }
  void restart_alone() {
    driver.reset();
    open_source();
    restart();
  }
  /// With a plain tar on top of the image's layers.
  void restart_with(const std::string& tar) {
    const auto added = directory / "added.tar";
    write_text(added, tar);
    driver.reset();
    fs.reset();
    source.reset();
    vfs::ImageSourceOptions options;
    options.index_dir = directory / "index";
    options.show_progress = false;
    options.add_layers = {added};
    auto opened = vfs::open_image_source("oci:" + (directory / "image").string(), options);
    ASSERT_TRUE(opened) << opened.error().describe();
    source = std::move(*opened);
    restart();
  }
};

/// By the name that is covered it is the added layer's file; by the others, what it was.
TEST_F(MetacopyBelowAddedLayerTest, AnImagesHardLinksLoseNothingWhereOneIsCovered) {
  ASSERT_EQ(set_mode("links/b", 0600), 0);
  for (const std::string content : {"of another size", "", "of as many."}) {
    restart_below(content);
    EXPECT_EQ(drive().read("links/a"), content);
    EXPECT_EQ(drive().read("links2/c"), "hard-linked");
    EXPECT_EQ(drive().read("links/a"), content);
    restart_alone();
    for (const char* path : {"links/a", "links/b", "links2/c"}) {
      EXPECT_EQ(drive().read(path), "hard-linked") << path << " after " << content;
      EXPECT_EQ(drive().attr(path).mode & 07777U, 0600U);
    }
  }
}

/// Held by both names at a time it is one object, and what is written is written once.
TEST_F(MetacopyBelowAddedLayerTest, AnInodeIsOneObjectByAllOfItsNames) {
  ASSERT_EQ(set_mode("links/b", 0600), 0);
  restart_below("of as many.");
  const auto a = drive().acquire("links/a");
  const auto b = drive().acquire("links/b");
  EXPECT_EQ(a, b);
  EXPECT_EQ(write_node(a, 0, "OF"), 0);
  EXPECT_EQ(write_node(b, 3, "AS"), 0);
  for (const char* path : {"links/a", "links/b", "links2/c"}) EXPECT_EQ(drive().read(path), "OF AS many.");
  restart_alone();
  for (const char* path : {"links/a", "links/b", "links2/c"}) EXPECT_EQ(drive().read(path), "OF AS many.");
}

/// What is changed while layers may be others keeps the bytes of the time.
TEST_F(MetacopyBelowAddedLayerTest, AFileWithSeveralNamesIsCopiedWhole) {
  restart_with(TarBuilder().file("unrelated", "").finish());
  ASSERT_EQ(set_mode("links/b", 0600), 0);
  EXPECT_FALSE(is_metacopy("links/a"));
  restart_below("of the added layer");
  for (const char* path : {"links/a", "links/b", "links2/c"}) EXPECT_EQ(drive().read(path), "hard-linked");
}

// overlayfs itself names a file that stayed in its directory without a path.
TEST_F(MetacopyTest, ARedirectMayBeANameInTheSameDirectory) {
  EXPECT_EQ(drive().rename("etc/big", "etc/renamed"), 0);
  driver.reset();
  fs.reset();
  ASSERT_EQ(::lsetxattr(upper("etc/renamed").c_str(), std::string(marks().redirect).c_str(), "big", 3, 0), 0);
  restart();
  expect_metacopy_of_big("etc/renamed");
}

}  // namespace
}  // namespace layerboot::test
