#include "launcher/disk/disk_fill.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "launcher/disk/disk_size.h"
#include "launcher/host/run_tool.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;

class DiskFillTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(tree_); }
  /// As disk_build.cc makes it; the file system is sound then.
  void fill() {
    const auto size = measure_tree(tree_);
    ASSERT_TRUE(size) << size.error().text;
    const std::uint64_t disk_bytes = smallest_disk_bytes(*size);
    std::ofstream(disk_).close();
    fs::resize_file(disk_, disk_bytes);
    const auto made = run_tool({"mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-N",
                                std::to_string(inodes_for(*size, disk_bytes)), disk_.string()});
    ASSERT_TRUE(made) << made.error().text;
    const InterruptScope interrupts;
    const auto filled = fill_disk(tree_, disk_, [](std::uint64_t) {});
    ASSERT_TRUE(filled) << filled.error().text;
    const auto checked = run_tool({"e2fsck", "-fn", disk_.string()});
    EXPECT_TRUE(checked) << checked.error().text;
  }
  std::string debugfs(const std::string& command) const {
    const auto said = run_tool({"debugfs", "-R", command, disk_.string()});
    EXPECT_TRUE(said) << said.error().text;
    return said.value_or("");
  }
  void expect_says(const std::string& command, const std::vector<std::string>& parts) const {
    const std::string said = debugfs(command);
    for (const std::string& part : parts)
      EXPECT_NE(said.find(part), std::string::npos) << command << ": " << said;
  }
  /// All names of a directory of the disk, sorted.
  std::vector<std::string> names(const std::string& directory) const {
    std::istringstream lines(debugfs("ls -p " + directory));
    std::vector<std::string> found;
    for (std::string line; std::getline(lines, line);) {
      // "/INODE/MODE/UID/GID/NAME/SIZE/"
      std::string rest = line;
      for (int i = 0; i < 5 && !rest.empty(); ++i) rest.erase(0, rest.find('/') + 1);
      const std::string name = rest.substr(0, rest.find('/'));
      if (!name.empty() && name != "." && name != "..") found.push_back(name);
    }
    std::ranges::sort(found);
    return found;
  }
  std::string content(const std::string& path) const {
    const auto copy = scratch_.path() / "copy";
    debugfs("dump " + path + " " + copy.string());
    return scratch_.read("copy");
  }

  ScratchDir scratch_;
  fs::path tree_ = scratch_.path() / "tree";
  fs::path disk_ = scratch_.path() / "disk";
};

TEST_F(DiskFillTest, NothingIsSoundToo) {
  fill();
  EXPECT_EQ(names("/"), std::vector<std::string>{"lost+found"});
}

TEST_F(DiskFillTest, EachKindIsThere) {
  std::ofstream(tree_ / "small") << "small";
  const std::string large(3'000'001, 'x');
  std::ofstream(tree_ / "large") << large;
  fs::create_hard_link(tree_ / "small", tree_ / "other");
  fs::create_symlink("small", tree_ / "short");
  fs::create_symlink(std::string(200, 't'), tree_ / "long");
  fs::create_directories(tree_ / "a/b/c");
  ASSERT_EQ(::mkfifo((tree_ / "pipe").c_str(), 0640), 0);
  ASSERT_EQ(::chmod((tree_ / "a").c_str(), 01751), 0);
  // Before 1970, after 2038, and between two seconds.
  const timespec times[3] = {{-100, 0}, {5'000'000'000, 0}, {1'700'000'000, 123'456'789}};
  const char* const files[3] = {"small", "large", "a"};
  for (int i = 0; i < 3; ++i) {
    const timespec both[2] = {times[i], times[i]};
    ASSERT_EQ(::utimensat(AT_FDCWD, (tree_ / files[i]).c_str(), both, 0), 0);
  }
  fill();
  EXPECT_EQ(content("/small"), "small");
  EXPECT_TRUE(content("/large") == large);
  expect_says("stat /other", {"Links: 2"});
  expect_says("stat /short", {"Fast link dest: \"small\""});
  expect_says("stat /long", {"Type: symlink", "Size: 200"});
  EXPECT_EQ(content("/long"), std::string(200, 't'));
  expect_says("stat /a", {"Mode:  01751", "Links: 3", "1d6f3454"});
  expect_says("stat /a/b/c", {"Links: 2"});
  expect_says("stat /pipe", {"Type: FIFO", "Mode:  0640"});
  expect_says("stat /small", {"0xffffff9c:00000000"});
  expect_says("stat /large", {"0x2a05f200:00000001"});
}

TEST_F(DiskFillTest, HolesStayHoles) {
  const auto sparse = tree_ / "sparse";
  std::ofstream(sparse) << "begin";
  fs::resize_file(sparse, std::uintmax_t{1} << 40U);
  {
    std::fstream file(sparse, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp((std::streamoff{1} << 39U) + 5000);
    file << "middle";
  }
  const auto size = measure_tree(tree_);
  ASSERT_TRUE(size) << size.error().text;
  EXPECT_LT(size->data_bytes, 1U << 20U);
  fill();
  expect_says("stat /sparse", {"Size: 1099511627776", "Blockcount: 16\n"});
}

TEST_F(DiskFillTest, ManyNamesInOneDirectory) {
  std::vector<std::string> made;
  fs::create_directories(tree_ / "many");
  for (int i = 0; i < 20'000; ++i) {
    made.push_back("a-name-of-" + std::string(static_cast<std::size_t>(i % 200), 'n') + std::to_string(i));
    std::ofstream(tree_ / "many" / made.back()).close();
  }
  std::ranges::sort(made);
  fill();
  EXPECT_TRUE(names("/many") == made);
}

TEST_F(DiskFillTest, AttributesAndLostAndFound) {
  fs::create_directories(tree_ / "lost+found");
  std::ofstream(tree_ / "lost+found/kept") << "k";
  const auto with = [&](const char* path, const char* name, const std::string& value) {
    return ::lsetxattr((tree_ / path).c_str(), name, value.data(), value.size(), 0) == 0;
  };
  std::ofstream(tree_ / "file") << "f";
  if (!with("file", "user.small", std::string("blue\0", 5)) || !with(".", "user.place", "root"))
    GTEST_SKIP() << "no user.* attributes in " << tree_;
  ASSERT_TRUE(with("file", "user.large", std::string(2000, 'l')));
  fill();
  expect_says("ea_list /file", {"user.small (5)", "user.large (2000)"});
  expect_says("ea_list /", {"user.place (4) = \"root\""});
  EXPECT_EQ(names("/lost+found"), std::vector<std::string>{"kept"});
}

TEST(MeasureTree, NamesWhatNoExt4CanHold) {
  const ScratchDir scratch;
  std::ofstream(scratch.path() / "lost+found") << "no directory";
  const auto size = measure_tree(scratch.path());
  ASSERT_FALSE(size);
  EXPECT_EQ(size.error().code, ENOTSUP);
  EXPECT_NE(size.error().text.find("\"lost+found\" is no directory"), std::string::npos) << size.error().text;
}

}  // namespace
}  // namespace layerboot::launcher
