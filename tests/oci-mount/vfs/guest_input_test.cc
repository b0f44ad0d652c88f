// What only a broken or hostile client sends: bad names, forged numbers, special files used as files, endless
// nesting.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include "oci-mount/overlay/upper.h"
#include "tests/oci-mount/vfs/every_method.h"
#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

using GuestInputTest = WritableFsTest;

TEST_F(GuestInputTest, BadNamesAreErrorsEverywhere) {
  const auto etc = drive().acquire("etc");
  const auto small = drive().acquire("etc/small");
  Reactor& ring = *drive().reactor;
  const std::string before_file = drive().read("etc/small");
  for (const std::string& name : bad_names()) {
    const int expected = name.size() > 255 ? ENAMETOOLONG : EINVAL;
    EXPECT_EQ(code_of(fs->lookup(etc, name)), expected) << name;
    EXPECT_EQ(code_of(fs->mknod(etc, name, S_IFREG | 0644, 0, {})), expected) << name;
    EXPECT_EQ(code_of(fs->mknod(etc, name, S_IFIFO | 0644, 0, {})), expected) << name;
    EXPECT_EQ(code_of(fs->mkdir(etc, name, 0755, {})), expected) << name;
    EXPECT_EQ(code_of(fs->symlink(etc, name, "target", {})), expected) << name;
    EXPECT_EQ(code_of(fs->create(etc, name, 0644, false, {})), expected) << name;
    EXPECT_EQ(code_of(fs->unlink(etc, name)), expected) << name;
    EXPECT_EQ(code_of(fs->rmdir(etc, name)), expected) << name;
    EXPECT_EQ(code_of(wait(fs->link(ring, small, etc, name))), expected) << name;
    EXPECT_EQ(code_of(wait(fs->rename(ring, etc, name, etc, "x", 0))), expected) << name;
    EXPECT_EQ(code_of(wait(fs->rename(ring, etc, "small", etc, name, 0))), expected) << name;
  }
  EXPECT_TRUE(upper_is_empty());
  EXPECT_EQ(drive().create("etc/" + std::string(255, 'n'), "x"), 0);
}

TEST_F(GuestInputTest, BadSymlinkTargetsAndModesAreErrors) {
  EXPECT_EQ(code_of(fs->symlink(vfs::kRootId, "s", "", {})), ENOENT);
  EXPECT_FALSE(fs->symlink(vfs::kRootId, "s", std::string(5000, 'x'), {}));
  EXPECT_FALSE(fs->symlink(vfs::kRootId, "s", std::string_view("a\0b", 3), {}));
  EXPECT_EQ(code_of(fs->mknod(vfs::kRootId, "d", S_IFDIR | 0755, 0, {})), EINVAL);
  EXPECT_EQ(code_of(fs->mknod(vfs::kRootId, "l", S_IFLNK | 0755, 0, {})), EINVAL);
  EXPECT_FALSE(fs->mknod(vfs::kRootId, "m", 0170000, 0, {}));
  EXPECT_FALSE(fs->mknod(vfs::kRootId, "m", 0030000, 0, {}));
  EXPECT_TRUE(upper_is_empty());
}

// The host's calls that set a mode follow links.
TEST_F(GuestInputTest, NoAttributeIsSetThroughASymlink) {
  const auto outside = directory / "outside";
  write_text(outside, "the host's");
  ASSERT_EQ(::chmod(outside.c_str(), 0600), 0);
  ASSERT_EQ(drive().symlink("out", outside.string()), 0);
  vfs::AttrChange change;
  change.kill_suid_sgid = true;
  EXPECT_EQ(drive().setattr("out", change), 0);
  change.uid = ::geteuid();
  change.mtime = vfs::TimeChange{.now = false, .time = {.sec = 5, .nsec = 0}};
  EXPECT_EQ(drive().setattr("out", change), 0);
  EXPECT_EQ(set_mode("out", 0777), EOPNOTSUPP);
  struct stat st{};
  ASSERT_EQ(::stat(outside.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0600U);
  EXPECT_NE(st.st_mtim.tv_sec, 5);
}

TEST_F(GuestInputTest, ForgedNumbersAreStaleOnEveryMethod) {
  const auto small = drive().acquire("etc/small");
  std::uint64_t tree_rows = 0;
  for (vfs::NodeId id = 1; fs->getattr(id); ++id) tree_rows = id;
  const std::vector<vfs::NodeId> forged{0,
                                        tree_rows + 1,
                                        UINT32_MAX,
                                        std::uint64_t{UINT32_MAX} + 2,
                                        std::uint64_t{1} << 40,
                                        (std::uint64_t{1} << 40) + 12345,
                                        std::uint64_t{1} << 62,
                                        std::uint64_t{1} << 63,
                                        UINT64_MAX - 1,
                                        UINT64_MAX};
  for (const auto id : forged) {
    for_every_method(*fs, *drive().reactor, id, small, [&](const char* method, int code) {
      EXPECT_EQ(code, ESTALE) << method << " of " << id;
    });
    fs->forget(id, UINT64_MAX);
  }
  EXPECT_TRUE(upper_is_empty());
}

TEST_F(GuestInputTest, RemovedDirectoriesGiveErrorsOnEveryMethodButForTheirAttributes) {
  const auto small = drive().acquire("etc/small");
  EXPECT_EQ(drive().mkdir("own"), 0);
  for (const char* path : {"own", "empty"}) {
    const auto node = drive().acquire(path);
    EXPECT_EQ(drive().rmdir(path), 0);
    for_every_method(*fs, *drive().reactor, node, small, [&](const char* method, int code) {
      const std::string name = method;
      const bool changes_attributes = name == "setattr" || name == "setxattr" || name == "removexattr";
      if (name == "getattr" || changes_attributes || name == "fsync" || name == "fsyncdir") {
        EXPECT_EQ(code, 0) << method << " of " << path;
      } else if (name != "getxattr" && name != "listxattr") {
        EXPECT_NE(code, 0) << method << " of " << path;
      }
    });
    drive().release(node);
  }
}

TEST_F(GuestInputTest, WrongKindsOfNodesAreErrorsOnEveryMethod) {
  EXPECT_EQ(drive().create("own", "x"), 0);
  EXPECT_EQ(drive().mkdir("own-directory"), 0);
  EXPECT_EQ(drive().symlink("own-link", "x"), 0);
  for (const char* path : {"etc", "etc/small", "etc/link", "own", "own-directory", "own-link"}) {
    const auto node = drive().acquire(path);
    const std::uint32_t type = drive().attr(path).mode & S_IFMT;
    // Nothing may crash; what can't work says so.
    for_every_method(*fs, *drive().reactor, node, node, [&](const char* method, int code) {
      const std::string name = method;
      if (type != S_IFREG && (name == "try_read" || name == "read" || name == "write" || name == "lseek")) {
        EXPECT_NE(code, 0) << method << " of " << path;
      }
      if (type != S_IFDIR && (name == "lookup" || name == "readdir" || name == "mkdir")) {
        EXPECT_EQ(code, ENOTDIR) << method << " of " << path;
      }
      if (type != S_IFLNK && name == "readlink") {
        EXPECT_EQ(code, EINVAL) << path;
      }
    });
  }
}

TEST_F(GuestInputTest, SpecialFilesAreNeverOpenedOnTheHost) {
  constexpr std::uint32_t kNull = 0x103;  // /dev/null of the host, where writing would succeed
  const struct {
    const char* name;
    std::uint32_t mode;
  } kinds[] = {{"fifo", S_IFIFO}, {"sock", S_IFSOCK}, {"chr", S_IFCHR}, {"blk", S_IFBLK}};
  Reactor& ring = *drive().reactor;
  char byte = 'x';
  const iovec piece{&byte, 1};
  for (const auto& [name, mode] : kinds) {
    const auto made = fs->mknod(vfs::kRootId, name, mode | 0666, kNull, {});
    ASSERT_TRUE(made) << name;
    EXPECT_EQ(code_of(fs->try_read(made->id, 0, {&piece, 1})), EINVAL) << name;
    EXPECT_EQ(code_of(wait(fs->read(ring, made->id, 0, {&piece, 1}))), EINVAL) << name;
    EXPECT_EQ(code_of(wait(fs->write(ring, made->id, 0, {&piece, 1}, vfs::Writer::kUnprivileged))), EINVAL)
        << name;
    EXPECT_EQ(code_of(wait(fs->fallocate(ring, made->id, 0, 0, 10))), EINVAL) << name;
    EXPECT_EQ(code_of(fs->lseek(made->id, 0, SEEK_DATA)), EINVAL) << name;
    vfs::AttrChange size;
    size.size_bytes = 0;
    EXPECT_EQ(code_of(wait(fs->setattr(ring, made->id, size))), EINVAL) << name;
    EXPECT_EQ(set_mode(name, 0600), 0) << name;
    EXPECT_EQ(drive().attr(name).mode, mode | 0600U);
  }
}

TEST_F(GuestInputTest, OffsetsAndSizesOutOfRangeAreErrors) {
  EXPECT_EQ(drive().create("own", "own"), 0);
  Reactor& ring = *drive().reactor;
  char byte = 'x';
  const iovec piece{&byte, 1};
  for (const char* path : {"own", "etc/small"}) {
    const auto node = drive().acquire(path);
    for (const std::uint64_t offset : {std::uint64_t{INT64_MAX}, std::uint64_t{INT64_MAX} + 1, UINT64_MAX}) {
      EXPECT_NE(code_of(wait(fs->write(ring, node, offset, {&piece, 1}, vfs::Writer::kPrivileged))), 0)
          << path;
      EXPECT_NE(code_of(wait(fs->fallocate(ring, node, 0, offset, 1))), 0) << path;
      EXPECT_NE(code_of(wait(fs->fallocate(ring, node, 0, 1, offset))), 0) << path;
      const auto got = wait(fs->read(ring, node, offset, {&piece, 1}));
      EXPECT_TRUE(!got || *got == 0) << path;
      static_cast<void>(fs->try_read(node, offset, {&piece, 1}));
      EXPECT_NE(code_of(fs->lseek(node, offset, SEEK_DATA)), 0) << path;
    }
    vfs::AttrChange size;
    size.size_bytes = UINT64_MAX;
    EXPECT_NE(code_of(wait(fs->setattr(ring, node, size))), 0) << path;
    EXPECT_EQ(code_of(fs->lseek(node, 0, 17)), EINVAL);
    EXPECT_NE(code_of(wait(fs->fallocate(ring, node, 0xffffffff, 0, 1))), 0);
    vfs::AttrChange time;
    time.mtime = vfs::TimeChange{.now = false, .time = {.sec = 0, .nsec = 2'000'000'000}};
    EXPECT_NE(code_of(wait(fs->setattr(ring, node, time))), 0);
  }
}

TEST_F(GuestInputTest, TooManyForgetsAndTheRootsAreHarmless) {
  EXPECT_EQ(drive().mkdir("d"), 0);
  EXPECT_EQ(drive().create("d/f", "x"), 0);
  const auto d = drive().acquire("d");
  const auto f = drive().acquire("d/f");
  fs->forget(d, UINT64_MAX);
  fs->forget(f, 1000);
  fs->forget(f, 1000);
  fs->forget(vfs::kRootId, UINT64_MAX);
  fs->forget(drive().acquire("etc"), UINT64_MAX);
  EXPECT_EQ(fs->getattr(f).error().code, ESTALE);
  EXPECT_EQ(drive().read("d/f"), "x");
  EXPECT_EQ(drive().read("etc/small"), lower_small());
}

// Every step that walks up to the root must do so without recursion, and with few descriptors.
TEST_F(GuestInputTest, NestingWithoutEnd) {
  constexpr int kDepth = 1500;  // more than a process has descriptors
  std::vector<vfs::NodeId> chain{vfs::kRootId};
  for (int i = 0; i < kDepth; ++i) {
    const auto made = fs->mkdir(chain.back(), "d", 0700, {});
    ASSERT_TRUE(made) << i << ": " << made.error().describe();
    chain.push_back(made->id);
  }
  // Out of the descriptor cache, then from the deepest one up again.
  for (int i = 1; i < 300; ++i)
    ASSERT_TRUE(fs->create(chain[static_cast<std::size_t>(i)], "f", 0600, true, {}));
  EXPECT_TRUE(fs->create(chain.back(), "bottom", 0600, true, {}));
  // Forgotten from the top: each is kept by the one below, until the last one goes.
  for (std::size_t i = 1; i < chain.size(); ++i) fs->forget(chain[i], 1);
  fs->reset();
  restart();
  vfs::NodeId at = vfs::kRootId;
  for (int i = 0; i < kDepth; ++i) {
    const auto found = fs->lookup(at, "d");
    ASSERT_TRUE(found && found->id != 0) << i;
    at = found->id;
  }
  EXPECT_NE(fs->lookup(at, "bottom").value_or(vfs::Entry{}).id, 0U);
  fs->reset();  // with the whole chain held
  driver.reset();
  fs.reset();
  const UniqueFd top(::open((directory / "vm/upper").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_TRUE(overlay::remove_tree_at({top.get(), "d"}));
}

}  // namespace
}  // namespace layerboot::test
