// A directory served in place: what the client does is on the host, what the host does the client sees, and
// no way leads out. Runs as root and as an ordinary user.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "tests/oci-mount/vfs/share_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

TEST_F(ShareFsTest, WhatTheClientDoesIsOnTheHost) {
  EXPECT_EQ(drive().mkdir("d", 0750), 0);
  EXPECT_EQ(drive().create("d/file", "text", 0640), 0);
  EXPECT_EQ(drive().symlink("d/link", "file"), 0);
  EXPECT_EQ(drive().mknod("d/pipe", S_IFIFO | 0600, 0), 0);
  EXPECT_EQ(get(host("d/file")), "text");
  EXPECT_EQ(stat_of(host("d/file")).st_mode, static_cast<mode_t>(S_IFREG | 0640));
  EXPECT_EQ(stat_of(host("d")).st_mode, static_cast<mode_t>(S_IFDIR | 0750));
  EXPECT_EQ(fs::read_symlink(host("d/link")), "file");
  EXPECT_TRUE(fs::is_fifo(host("d/pipe")));
  EXPECT_EQ(drive().link("d/file", "also"), 0);
  EXPECT_EQ(stat_of(host("also")).st_ino, stat_of(host("d/file")).st_ino);
  EXPECT_EQ(drive().rename("d", "e"), 0);
  EXPECT_EQ(drive().read("e/file"), "text");
  EXPECT_EQ(drive().write("e/file", 4, " more"), 0);
  EXPECT_EQ(get(host("also")), "text more");
  EXPECT_EQ(drive().truncate("also", 2), 0);
  EXPECT_EQ(get(host("e/file")), "te");
  EXPECT_EQ(drive().rename("also", "e/file", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(drive().create("other", "2"), 0);
  EXPECT_EQ(drive().rename("other", "e/link", RENAME_EXCHANGE), 0);
  EXPECT_EQ(get(host("e/link")), "2");
  EXPECT_EQ(drive().rmdir("e"), ENOTEMPTY);
  for (const char* name : {"e/file", "e/link", "e/pipe", "also", "other"})
    EXPECT_EQ(drive().unlink(name), 0) << name;
  EXPECT_EQ(drive().rmdir("e"), 0);
  EXPECT_TRUE(fs::is_empty(host()));
}

TEST_F(ShareFsTest, SeesWhatTheHostDoes) {
  put(host("file"), "old");
  EXPECT_EQ(drive().read("file"), "old");
  put(host("new"), "newer");
  fs::rename(host("new"), host("file"));
  EXPECT_EQ(drive().read("file"), "newer");
  put(host("file"), "again, in place");
  EXPECT_EQ(drive().read("file"), "again, in place");
  fs::create_directories(host("a/b"));
  put(host("a/b/c"), "deep");
  EXPECT_EQ(drive().read("a/b/c"), "deep");
  fs::rename(host("a"), host("z"));
  EXPECT_EQ(drive().read("z/b/c"), "deep");
  EXPECT_EQ(drive().attr("a").ino, 0U);
  EXPECT_EQ(drive().list("").size(), 2U);
}

TEST_F(ShareFsTest, WhatHasMovedIsStaleUntilItIsLookedUpAnew) {
  fs::create_directories(host("a/b"));
  put(host("a/b/c"), "deep");
  const auto node = drive().acquire("a/b/c");
  ASSERT_NE(node, 0U);
  fs::rename(host("a/b"), host("b"));
  EXPECT_EQ(share_->getattr(node).error().code, ESTALE);
  EXPECT_EQ(drive().read("b/c"), "deep");
  EXPECT_TRUE(share_->getattr(node));  // the same node, found at its new place
  drive().release(node);
}

TEST_F(ShareFsTest, AnotherObjectOfTheSameNameIsAnotherNode) {
  put(host("x"), "1");
  const auto node = drive().acquire("x");
  fs::remove(host("x"));
  fs::create_directory(host("x"));
  EXPECT_EQ(share_->getattr(node).error().code, ESTALE);
  EXPECT_EQ(write_node(node, "?"), ESTALE);
  EXPECT_EQ(drive().list("x").size(), 0U);
  drive().release(node);
}

TEST_F(ShareFsTest, NoWayLeadsOut) {
  fs::create_directory(dir_ / "outside");
  put(dir_ / "outside/secret", "s");
  fs::create_symlink(dir_ / "outside", host("out"));
  const auto link = drive().acquire("out");
  EXPECT_TRUE(S_ISLNK(share_->getattr(link)->mode));
  EXPECT_EQ(share_->lookup(link, "secret").error().code, ENOTDIR);
  drive().release(link);
  for (const char* name : {"..", ".", "", "a/b"}) EXPECT_FALSE(share_->lookup(vfs::kRootId, name)) << name;
  EXPECT_EQ(share_->lookup(vfs::kRootId, "../outside").error().code, EINVAL);

  // A directory that the client knows is replaced by a link, or moved away.
  for (const bool replaced : {true, false}) {
    fs::create_directory(host("d"));
    put(host("d/file"), "in");
    const auto directory = drive().acquire("d");
    const auto file = drive().acquire("d/file");
    fs::rename(host("d"), dir_ / "outside/d");
    if (replaced) fs::create_symlink(dir_ / "outside/d", host("d"));
    EXPECT_EQ(share_->lookup(directory, "file").error().code, ESTALE);
    EXPECT_EQ(share_->create(directory, "new", 0644, true, {}).error().code, ESTALE);
    EXPECT_EQ(share_->mkdir(directory, "new", 0755, {}).error().code, ESTALE);
    EXPECT_EQ(share_->unlink(directory, "file").error().code, ESTALE);
    EXPECT_EQ(write_node(file, "out"), ESTALE);
    EXPECT_EQ(get(dir_ / "outside/d/file"), "in");
    drive().release(file);
    drive().release(directory);
    fs::remove_all(dir_ / "outside/d");
    fs::remove(host("d"));
  }
  // A file that is replaced by a link to somebody else's.
  put(host("f"), "mine");
  const auto file = drive().acquire("f");
  fs::remove(host("f"));
  fs::create_symlink(dir_ / "outside/secret", host("f"));
  EXPECT_EQ(write_node(file, "overwritten"), ESTALE);
  vfs::AttrChange change;
  change.mode = 0777;
  EXPECT_FALSE(drive().reactor->block_on(share_->setattr(*drive().reactor, file, change)));
  EXPECT_EQ(get(dir_ / "outside/secret"), "s");
  drive().release(file);
}

TEST_F(ShareFsTest, AnUnlinkedFileStaysForWhoHasIt) {
  ASSERT_EQ(drive().create("file", "still here"), 0);
  const auto node = drive().acquire("file");
  ASSERT_EQ(drive().unlink("file"), 0);
  EXPECT_TRUE(fs::is_empty(host()));
  EXPECT_EQ(drive().read_node(node), "still here");
  EXPECT_EQ(write_node(node, "more"), 0);
  EXPECT_EQ(share_->getattr(node)->nlink, 0U);
  drive().release(node);
  EXPECT_EQ(share_->getattr(node).error().code, ESTALE);
  // The same for one that is replaced.
  ASSERT_EQ(drive().create("old", "o"), 0);
  ASSERT_EQ(drive().create("new", "n"), 0);
  const auto old = drive().acquire("old");
  ASSERT_EQ(drive().rename("new", "old"), 0);
  EXPECT_EQ(drive().read_node(old), "o");
  EXPECT_EQ(drive().read("old"), "n");
  drive().release(old);
}

TEST_F(ShareFsTest, AllThatAFileHasStaysWithoutAName) {
  ASSERT_EQ(drive().create("file", "still here", 0640), 0);
  const auto node = drive().acquire("file");
  ASSERT_EQ(drive().unlink("file"), 0);
  ASSERT_TRUE(share_->getattr(node)) << share_->getattr(node).error().describe();
  const auto set = [&](const vfs::AttrChange& change) {
    const auto done = drive().reactor->block_on(share_->setattr(*drive().reactor, node, change));
    EXPECT_TRUE(done) << done.error().describe();
    return done.value_or(vfs::Attr{});
  };
  vfs::AttrChange mode;
  mode.mode = 0600;
  EXPECT_EQ(set(mode).mode & 07777, 0600U);
  vfs::AttrChange size;
  size.size_bytes = 5;
  EXPECT_EQ(set(size).size_bytes, 5U);
  vfs::AttrChange owner;
  owner.uid = 7;
  EXPECT_EQ(set(owner).uid, 7U);
  EXPECT_TRUE(drive().reactor->block_on(share_->setxattr(*drive().reactor, node, "user.x", "v", 0)));
  EXPECT_EQ(share_->getxattr(node, "user.x").value_or("?"), "v");
  EXPECT_EQ(share_->listxattr(node).value_or("?"), std::string("user.x\0", 7));
  EXPECT_TRUE(drive().reactor->block_on(share_->removexattr(*drive().reactor, node, "user.x")));
  EXPECT_EQ(drive().read_node(node), "still");
  drive().release(node);
}

TEST_F(ShareFsTest, ManyFilesWithoutANameStay) {
  constexpr std::size_t kFiles = 300;
  std::vector<vfs::NodeId> nodes;
  for (std::size_t i = 0; i < kFiles; ++i) {
    const std::string name = "f" + std::to_string(i);
    ASSERT_EQ(drive().create(name, name), 0);
    nodes.push_back(drive().acquire(name));
    if (i % 2 == 0) static_cast<void>(share_->open_file(nodes.back(), O_RDWR));
    ASSERT_EQ(drive().unlink(name), 0);
  }
  for (std::size_t i = 0; i < kFiles; ++i) {
    EXPECT_EQ(drive().read_node(nodes[i]), "f" + std::to_string(i));
    EXPECT_EQ(write_node(nodes[i], "F"), 0);
    EXPECT_EQ(share_->getattr(nodes[i])->nlink, 0U);
  }
  for (const auto node : nodes) drive().release(node);
  EXPECT_EQ(drive().link_nameless("named", 0644), 0);
  EXPECT_TRUE(fs::is_regular_file(host("named")));
}

/// How many descriptors this process has of files below `directory`, by their mode of access.
std::map<int, int> descriptors_below(const fs::path& directory) {
  std::map<int, int> found;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = fs::read_symlink(entry.path(), gone).string();
    if (gone || !target.starts_with(directory.string() + "/")) continue;
    ++found[::fcntl(std::stoi(entry.path().filename()), F_GETFL) & (O_ACCMODE | O_PATH)];
  }
  return found;
}

TEST_F(ShareFsTest, FilesAreOpenForWhatTheClientWantsAndAsLong) {
  using Counts = std::map<int, int>;
  ASSERT_EQ(drive().create("file", "text"), 0);
  const auto node = drive().acquire("file");
  EXPECT_EQ(descriptors_below(host()), Counts());
  EXPECT_EQ(drive().read_node(node), "text");
  EXPECT_EQ(write_node(node, "T"), 0);
  EXPECT_EQ(descriptors_below(host()), Counts()) << "not opened: only for a moment";
  const auto reader = share_->open_file(node, O_RDONLY | O_NOATIME);
  ASSERT_TRUE(reader);
  EXPECT_EQ(drive().read_node(node), "Text");
  EXPECT_EQ(descriptors_below(host()), (Counts{{O_RDONLY, 1}}));
  const auto second = share_->open_file(node, O_RDONLY);
  const auto writer = share_->open_file(node, O_WRONLY);
  ASSERT_TRUE(second && writer);
  EXPECT_EQ(descriptors_below(host()), (Counts{{O_RDONLY, 1}, {O_WRONLY, 1}}));
  share_->release_file(node, reader->handle);
  share_->release_file(node, writer->handle);
  share_->release_file(node, writer->handle);
  share_->release_file(node, 3);
  share_->release_file(node, ~0ULL);
  share_->release_file(4711, 0);
  EXPECT_EQ(descriptors_below(host()), (Counts{{O_RDONLY, 1}}));
  share_->release_file(node, second->handle);
  EXPECT_EQ(descriptors_below(host()), Counts());
  EXPECT_EQ(share_->open_file(node, O_ACCMODE).error().code, EINVAL);
  EXPECT_EQ(share_->open_file(vfs::kRootId, O_RDONLY).error().code, EINVAL);
  ASSERT_TRUE(share_->open_file(node, O_RDWR));
  drive().release(node);
  EXPECT_EQ(descriptors_below(host()), Counts()) << "a client that forgets what it has open";
}

TEST_F(ShareFsTest, PagesAreKeptWhileTheFileIsAsItWas) {
  put(host("file"), "one");
  const auto node = drive().acquire("file");
  static_cast<void>(share_->open_file(node, O_RDONLY));
  EXPECT_TRUE(share_->open_file(node, O_RDONLY)->keep_pages);
  fs::last_write_time(host("file"), fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_FALSE(share_->open_file(node, O_RDONLY)->keep_pages);
  EXPECT_TRUE(share_->open_file(node, O_RDONLY)->keep_pages);
  drive().release(node);
}

TEST_F(ShareFsTest, OpenFilesAreBounded) {
  options_.max_descriptors = 8;
  restart();
  std::vector<vfs::NodeId> nodes;
  for (std::size_t i = 0; i < 10; ++i) {
    const std::string name = "f" + std::to_string(i);
    // One that could not be opened is not made either.
    if (i >= 8) {
      EXPECT_EQ(drive().create(name, name), ENFILE);
      EXPECT_FALSE(fs::exists(host(name)));
      put(host(name), name);
    } else {
      ASSERT_EQ(drive().create(name, name), 0);
    }
    nodes.push_back(drive().acquire(name));
    EXPECT_EQ(share_->open_file(nodes.back(), O_RDONLY) ? 0 : ENFILE, i < 8 ? 0 : ENFILE);
  }
  EXPECT_EQ(drive().read_node(nodes.back()), "f9");
  ASSERT_EQ(drive().unlink("f0"), 0);
  EXPECT_EQ(drive().read_node(nodes.front()), "f0") << "by the descriptor that it has";
  EXPECT_EQ(share_->tmpfile(vfs::kRootId, 0644, {}).error().code, ENFILE);
  for (const auto node : nodes) drive().release(node);
  EXPECT_EQ(descriptors_below(host()), (std::map<int, int>()));
}

TEST_F(ShareFsTest, NothingIsOpenedForWritingWhereNothingIsWritten) {
  ASSERT_EQ(drive().create("file", "text"), 0);
  options_.read_only = true;
  restart();
  const auto node = drive().acquire("file");
  EXPECT_EQ(share_->open_file(node, O_RDWR).error().code, EROFS);
  EXPECT_EQ(write_node(node, "?"), EROFS);
  EXPECT_TRUE(share_->open_file(node, O_RDONLY));
  EXPECT_EQ(drive().read_node(node), "text");
  drive().release(node);
}

// Beyond so many changed objects they are known for a sync no more, one of which was just made.
TEST_F(ShareFsTest, EveryIdThatTheClientWasGivenIsGood) {
  constexpr std::size_t kMany = vfs::ShareFs::kMaxChanged + 8;
  using Make = std::function<Result<vfs::Entry>(const std::string&)>;
  const std::map<std::string, Make> ways{
      {"create", [&](const auto& name) { return share_->create(vfs::kRootId, name, 0644, true, {}); }},
      {"mknod", [&](const auto& name) { return share_->mknod(vfs::kRootId, name, S_IFREG | 0644, 0, {}); }},
      {"mkdir", [&](const auto& name) { return share_->mkdir(vfs::kRootId, name, 0755, {}); }}};
  for (const auto& [way, make] : ways) {
    restart();
    for (std::size_t i = 0; i < kMany; ++i) {
      const auto made = make(way + std::to_string(i));
      ASSERT_TRUE(made) << way << i << ": " << made.error().describe();
      const auto attr = share_->getattr(made->id);
      ASSERT_TRUE(attr) << way << i << ": " << attr.error().describe();
    }
  }
}

TEST_F(ShareFsTest, ListsWhatIsThere) {
  for (int i = 0; i < 2000; ++i) put(host("file-with-a-longer-name-" + std::to_string(i)), "");
  EXPECT_EQ(drive().list("", true).size(), 2000U);
  EXPECT_EQ(drive().list("", false).size(), 2000U);
}

TEST_F(ShareFsTest, TheHostSaysHowMuchThereIs) {
  EXPECT_EQ(share_->statfs()->blocks * share_->statfs()->block_size_bytes, fs::space(host()).capacity);
}

TEST_F(ShareFsTest, ADirectoryThatIsNotThereIsAnError) {
  const auto share = vfs::ShareFs::open({.directory = dir_ / "missing"}, workers_, memory_);
  ASSERT_FALSE(share);
  EXPECT_NE(share.error().describe().find("missing"), std::string::npos);
}

TEST_F(ShareFsTest, AttributesOfUsers) {
  ASSERT_EQ(drive().create("file", ""), 0);
  ASSERT_EQ(drive().setxattr("file", "user.key", "value"), 0);
  char value[16];
  EXPECT_EQ(::lgetxattr(host("file").c_str(), "user.key", value, sizeof(value)), 5);
  const auto node = drive().acquire("file");
  EXPECT_EQ(share_->getxattr(node, "user.key").value_or("-"), "value");
  EXPECT_EQ(share_->listxattr(node).value_or("-"), std::string("user.key\0", 9));
  drive().release(node);
  EXPECT_EQ(drive().removexattr("file", "user.key"), 0);
  EXPECT_EQ(drive().removexattr("file", "user.key"), ENODATA);
}

TEST_F(ShareFsTest, ADirectoryNeverComesToLieBelowItself) {
  fs::create_directories(host("one/x/sub"));
  fs::create_directory(host("two"));
  const auto two = drive().acquire("two");
  const auto x = drive().acquire("one/x");
  const auto sub = drive().acquire("one/x/sub");
  // Behind the client's back: another directory has the place that `sub` is remembered at.
  fs::rename(host("one/x"), host("two/x"));
  fs::create_directory(host("one/x"));
  fs::rename(host("two/x/sub"), host("one/x/sub"));
  const auto moved = drive().reactor->block_on(share_->rename(*drive().reactor, two, "x", sub, "y", 0));
  ASSERT_TRUE(moved) << moved.error().describe();
  EXPECT_TRUE(fs::exists(host("one/x/sub/y")));
  EXPECT_EQ(share_->getattr(x).error().code, ESTALE) << "its way up is looked for anew";
  EXPECT_NE(drive().acquire("one/x/sub/y"), 0U);
}

}  // namespace
}  // namespace layerboot::test
