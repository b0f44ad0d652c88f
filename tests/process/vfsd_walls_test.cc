// What code of the guest's choice could do in vfsd: a program that is vfsd up to the moment when it would
// serve, and tries to get out there. vfsd/DESIGN.md has the table of walls.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "oci-mount/base/files.h"
#include "oci-mount/base/sanitizers.h"
#include "tests/process/escape_ways.h"
#include "tests/process/vfsd_sandbox_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

/// Everything below a directory, but for what the daemon keeps: paths, modes, owners, sizes, times.
std::string describe_tree(const fs::path& top) {
  std::vector<std::string> lines;
  for (auto entry = fs::recursive_directory_iterator(top); entry != fs::recursive_directory_iterator();
       ++entry) {
    const auto path = entry->path().lexically_relative(top).string();
    if (path == "upper" || path == "cache" || path == "share") {
      entry.disable_recursion_pending();
      continue;
    }
    struct stat st{};
    if (::lstat(entry->path().c_str(), &st) != 0) {
      lines.push_back(path + " goes away");
      continue;
    }
    lines.push_back(str_cat(path, ' ', st.st_mode, ' ', st.st_uid, ' ', st.st_nlink, ' ',
                            S_ISDIR(st.st_mode) ? 0 : st.st_size, ' ', st.st_ctim.tv_sec, '.',
                            st.st_ctim.tv_nsec));
  }
  std::ranges::sort(lines);
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

class WallsTest : public SandboxedVfsd {
 protected:
  void SetUp() override {
    if (kSanitizer) GTEST_SKIP() << "a sanitizer's build has no filter";
    SandboxedVfsd::SetUp();
    victim_ = ::fork();
    if (victim_ == 0) {
      for (;;) ::pause();
    }
    std::ofstream(dir_ / "beside") << "another VM's disk";
    fs::create_directory(dir_ / "share");
    std::ofstream(dir_ / "share/theirs") << "in place";
    fs::create_directory(dir_ / "cache");
    // Indexed once, so that what follows changes nothing beside the daemon's own directories.
    ASSERT_EQ(run("see the host's paths", image_read_only()), 0);
    wait_until([&] { return !fs::exists(dir_ / "s") && !fs::exists(dir_ / "c"); });
    before_ = describe_tree(dir_.path());
  }
  void TearDown() override {
    if (victim_ <= 0) return;
    EXPECT_EQ(::waitpid(victim_, nullptr, WNOHANG), 0) << "somebody else's process was ended";
    ::kill(victim_, SIGKILL);
    ::waitpid(victim_, nullptr, 0);
    if (before_.empty()) return;
    wait_until([&] { return describe_tree(dir_.path()) == before_; });
    EXPECT_EQ(describe_tree(dir_.path()), before_);
  }

  /// Who removes the sockets does so after the daemon's death, of which we may have heard first.
  template <typename Done>
  static void wait_until(Done done) {
    for (int i = 0; i < 500 && !done(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }

  using Words = std::vector<std::string>;
  Words image_read_only() const { return {"--image", "oci:" + (dir_ / "image").string(), "--read-only"}; }
  Words image_with_upper() const {
    return {"--image", "oci:" + (dir_ / "image").string(), "--upper", dir_ / "upper", "--quota", "64M"};
  }
  Words directory_image() const { return {"--image", "dir:" + (dir_ / "share").string(), "--read-only"}; }
  Words share() const { return {"--share", dir_ / "share"}; }
  Words share_read_only() const { return {"--share", dir_ / "share", "--read-only"}; }

  /// What the program ends with: 0, kGotOut, or -signal.
  int run(const char* way, Words words, Words walls = {"--sandbox", "namespace"}) {
    ::setenv("LAYERBOOT_ESCAPE", way, 1);
    ::setenv("LAYERBOOT_VICTIM", str_cat(victim_).c_str(), 1);
    words.insert(words.end(), {"--socket-path", dir_ / "s", "--control-socket", dir_ / "c"});
    words.insert(words.end(), walls.begin(), walls.end());
    VfsdProcess program(std::move(words), dir_ / "cache", -1, LAYERBOOT_ESCAPE_PROGRAM);
    EXPECT_TRUE(program.ready()) << program.messages();
    const int ended = program.wait();
    said_ = program.messages();
    return ended;
  }
  /// A way that a read-only daemon's filter cuts off before anything else does is cut off.
  void expect_no_way_out(const Words& words) {
    for (const Way& way : ways_out()) {
      const int ended = run(way.name, words);
      EXPECT_TRUE(ended == 0 || ended == -SIGSYS) << way.name << ": " << ended << ": " << said_;
    }
  }

  pid_t victim_ = -1;
  std::string said_;
  std::string before_;
};

TEST_F(WallsTest, EveryOtherCallIsFatal) {
  for (const ForbiddenCall& call : forbidden_calls(victim_))
    EXPECT_EQ(run(call.name, image_with_upper()), -SIGSYS) << call.name << ": " << said_;
}

TEST_F(WallsTest, NoWayOutOfAnUpper) {
  for (const Way& way : ways_out())
    EXPECT_EQ(run(way.name, image_with_upper()), 0) << way.name << ": " << said_;
  struct stat st{};
  ASSERT_EQ(::stat((dir_ / "upper").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700U) << "set-id files of the guest's lie in it";
}

TEST_F(WallsTest, NoWayOutOfAnImageThatIsRead) { expect_no_way_out(image_read_only()); }

TEST_F(WallsTest, NoWayOutOfADirectoryThatIsRead) { expect_no_way_out(directory_image()); }

TEST_F(WallsTest, NoWayOutOfAShareThatIsRead) { expect_no_way_out(share_read_only()); }

TEST_F(WallsTest, NoWayOutOfAShare) {
  // It writes in the share itself; what counts is that it gets nowhere else.
  for (const char* way : {"write files beside", "walk up", "see the host's paths", "open the host's paths",
                          "read standard input", "write the root", "open a device", "ask rings"}) {
    EXPECT_EQ(run(way, share()), 0) << way << ": " << said_;
  }
}

// Else the ways above might lead nowhere by themselves.
TEST_F(WallsTest, WaysLeadOutWithoutWalls) {
  const Words none{"--sandbox", "none", "--seccomp", "none"};
  for (const char* way : {"open again for writing", "change attributes", "see the host's paths"})
    EXPECT_EQ(run(way, image_read_only(), none), kGotOut) << way << ": " << said_;
  for (const char* way : {"write files beside", "walk up", "open the host's paths"})
    EXPECT_EQ(run(way, image_with_upper(), none), kGotOut) << way << ": " << said_;
  EXPECT_EQ(run("fcntl F_SETSIG", image_with_upper(), none), kGotOut) << said_;
  EXPECT_EQ(run("madvise MADV_REMOVE", image_with_upper(), none), kGotOut) << said_;
  before_.clear();
}

}  // namespace
}  // namespace layerboot::test
