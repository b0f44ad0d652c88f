// Where objects are on the host, and the descriptors that reach them.
#include "oci-mount/overlay/places.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>

#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

namespace fs = std::filesystem;

std::size_t open_descriptors() {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
}

class PlacesTest : public testing::Test {
 protected:
  PlacesTest() { root_ = node(kRootId, S_IFDIR, nullptr, ""); }

  NodePtr node(NodeId id, std::uint32_t type, const NodePtr& parent, std::string name) {
    NodePtr made = Node::make(memory_);
    made->id = id;
    made->type = type;
    made->parent = parent;
    made->name = std::move(name);
    return made;
  }
  [[nodiscard]] fs::path on_host(const std::string& path) const { return top_ / "vm/upper" / path; }
  static ino_t ino_of_fd(int fd) {
    struct stat st{};
    EXPECT_EQ(::fstat(fd, &st), 0);
    return st.st_ino;
  }
  static ino_t ino_of_path(const fs::path& path) {
    struct stat st{};
    EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
    return st.st_ino;
  }
  template <typename T>
  static int code_of(const Result<T>& result) {
    return result ? 0 : result.error().code;
  }

  test::TempDir top_;
  MemoryBudget memory_;
  Places places_ = *Places::open(*Upper::open(top_ / "vm", "sha256:image"));
  NodePtr root_;
};

TEST_F(PlacesTest, DirectoriesAreReachedByTheirNames) {
  fs::create_directories(on_host("a/b"));
  const NodePtr a = node(10, S_IFDIR, root_, "a");
  const NodePtr b = node(11, S_IFDIR, a, "b");
  EXPECT_EQ(ino_of_fd((*places_.directory_fd(root_))->get()), ino_of_path(on_host("")));
  EXPECT_EQ(ino_of_fd((*places_.directory_fd(b))->get()), ino_of_path(on_host("a/b")));
  fs::rename(on_host("a"), on_host("moved"));
  EXPECT_EQ(ino_of_fd((*places_.directory_fd(b))->get()), ino_of_path(on_host("moved/b"))) << "kept open";
  a->name = "moved";
  places_.drop_all_fds();
  EXPECT_EQ(ino_of_fd((*places_.directory_fd(b))->get()), ino_of_path(on_host("moved/b")));
}

TEST_F(PlacesTest, ADirectoryThatIsGoneHasNoDescriptor) {
  fs::create_directories(on_host("a/b"));
  const NodePtr a = node(10, S_IFDIR, root_, "a");
  const NodePtr b = node(11, S_IFDIR, a, "b");
  fs::remove(on_host("a/b"));
  EXPECT_EQ(code_of(places_.directory_fd(b)), ENOENT) << "removed on the host";
  fs::create_directories(on_host("a/b"));
  a->standing = Standing::kGone;
  EXPECT_EQ(code_of(places_.directory_fd(a)), ENOENT);
  places_.drop_all_fds();
  EXPECT_EQ(code_of(places_.directory_fd(b)), ENOENT) << "below one that is gone, whatever has its name now";
  EXPECT_EQ(code_of(places_.place_in(b, "x")), ENOENT);
}

TEST_F(PlacesTest, NoSymlinkIsFollowed) {
  fs::create_directories(top_ / "outside");
  test::write_text(top_ / "outside/file", "the host's");
  fs::create_symlink(top_ / "outside", on_host("directory"));
  fs::create_symlink(top_ / "outside/file", on_host("file"));
  EXPECT_NE(code_of(places_.directory_fd(node(10, S_IFDIR, root_, "directory"))), 0);
  EXPECT_NE(code_of(places_.file_fd(node(11, S_IFREG, root_, "file"))), 0);
}

TEST_F(PlacesTest, OnlyRegularFilesAreOpened) {
  ASSERT_EQ(::mkfifo(on_host("pipe").c_str(), 0600), 0);
  test::write_text(on_host("file"), "x");
  for (const std::uint32_t type : {0040000U, 0120000U, 0010000U, 0020000U, 0060000U, 0140000U}) {
    EXPECT_EQ(code_of(places_.file_fd(node(10, type, root_, "file"))), EINVAL) << type;
  }
  EXPECT_NE(code_of(places_.file_fd(node(11, S_IFREG, root_, "pipe"))), 0) << "would wait for a writer";
  const NodePtr file = node(12, S_IFREG, root_, "file");
  EXPECT_EQ(places_.open_fd(*file), nullptr);
  const auto fd = places_.file_fd(file);
  ASSERT_TRUE(fd);
  EXPECT_EQ(ino_of_fd((*fd)->get()), ino_of_path(on_host("file")));
  EXPECT_EQ(places_.open_fd(*file), *fd) << "kept open";
  EXPECT_EQ(*places_.file_fd(file), *fd);
  places_.drop_fd(*file);
  EXPECT_EQ(places_.open_fd(*file), nullptr);
  EXPECT_EQ(ino_of_fd((*fd)->get()), ino_of_path(on_host("file"))) << "whoever uses it still has it";
  file->file.data_lost = true;
  EXPECT_EQ(code_of(places_.file_fd(file)), EIO);
}

TEST_F(PlacesTest, AFileWithoutANameIsItsDescriptor) {
  const NodePtr orphan = node(10, S_IFREG, root_, "was here");
  test::write_text(on_host("file"), "x");
  orphan->standing = Standing::kOrphan;
  orphan->orphan = std::make_shared<const UniqueFd>(::open(on_host("file").c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(*places_.file_fd(orphan), orphan->orphan);
  const auto place = places_.place_of(orphan);
  ASSERT_TRUE(place);
  EXPECT_EQ(stat_at(place->get())->st_ino, ino_of_path(on_host("file")));
}

TEST_F(PlacesTest, APlaceIsWhereTheObjectStands) {
  fs::create_directories(on_host("a"));
  test::write_text(on_host("a/file"), "x");
  test::write_text(top_ / "vm/work/t9", "x");
  const NodePtr file = node(11, S_IFREG, node(10, S_IFDIR, root_, "a"), "file");
  EXPECT_EQ(stat_at(places_.place_of(root_)->get())->st_ino, ino_of_path(on_host("")));
  EXPECT_EQ(stat_at(places_.place_of(file)->get())->st_ino, ino_of_path(on_host("a/file")));
  file->standing = Standing::kInWork;
  file->name = "t9";
  EXPECT_EQ(stat_at(places_.place_of(file)->get())->st_ino, ino_of_path(top_ / "vm/work/t9"));
  for (const Standing standing : {Standing::kLowerOnly, Standing::kGone}) {
    file->standing = standing;
    EXPECT_EQ(code_of(places_.place_of(file)), ENOENT);
  }
}

TEST_F(PlacesTest, AHeldPlaceStaysGood) {
  fs::create_directories(on_host("a"));
  test::write_text(on_host("a/file"), "x");
  const HeldPlace place = *places_.place_in(node(10, S_IFDIR, root_, "a"), "file");
  places_.drop_all_fds();
  EXPECT_EQ(stat_at(place.get())->st_ino, ino_of_path(on_host("a/file")));
}

TEST_F(PlacesTest, DescriptorsAreBoundedHoweverDeepItGoes) {
  constexpr int kDepth = 400;
  NodePtr at = root_;
  UniqueFd fd(::open(on_host("").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(fd.get(), "d", 0700), 0);
    fd = *open_directory_at({fd.get(), "d"});
    at = node(10 + static_cast<NodeId>(i), S_IFDIR, at, "d");
  }
  const std::size_t before = open_descriptors();
  const auto deepest = places_.directory_fd(at);
  ASSERT_TRUE(deepest) << deepest.error().describe();
  EXPECT_EQ(ino_of_fd((*deepest)->get()), ino_of_fd(fd.get()));
  EXPECT_LE(open_descriptors(), before + FdCache::kMaxOpen + 1);
  while (at != root_) {  // one by one: the test's stack is as good as the program's
    NodePtr above = at->parent;
    at->parent.reset();
    at = above;
  }
}

TEST_F(PlacesTest, NamesInTheWorkDirectoryAreNew) {
  std::set<std::string> names;
  for (int i = 0; i < 100; ++i) {
    const HeldPlace place = places_.work_place();
    EXPECT_TRUE(names.insert(place.name).second) << place.name;
    EXPECT_TRUE(create_regular_at(place.get(), 0600));
  }
  EXPECT_TRUE(places_.clear_work());
  EXPECT_TRUE(fs::is_empty(top_ / "vm/work"));
  EXPECT_TRUE(create_regular_at(places_.work_place().get(), 0600)) << "still reached";
}

TEST_F(PlacesTest, WhiteoutsShareAnInode) {
  for (const char* name : {"gone", "gone too"}) {
    ASSERT_TRUE(places_.make_whiteout(places_.place_in(root_, name)->get()));
    struct stat st{};
    ASSERT_EQ(::lstat(on_host(name).c_str(), &st), 0);
    EXPECT_TRUE(is_whiteout(st));
  }
  EXPECT_EQ(ino_of_path(on_host("gone")), ino_of_path(on_host("gone too")));
  EXPECT_EQ(code_of(places_.make_whiteout(places_.place_in(root_, "gone")->get())), EEXIST);
}

TEST_F(PlacesTest, MarksAreThoseOfTheKeeping) {
  EXPECT_EQ(places_.keeping(), ::geteuid() == 0 ? Keeping::kNative : Keeping::kRecorded);
  EXPECT_EQ(places_.marks().opaque, marks_of(places_.keeping()).opaque);
}

}  // namespace
}  // namespace layerboot::overlay
