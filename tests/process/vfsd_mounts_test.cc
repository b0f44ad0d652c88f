// What is mounted in a directory of the host that vfsd serves, in place or as an image.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "tests/process/vfsd_share_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

/// In a mount namespace of the test's own, whose mounts go on to those of the daemons that it starts.
class VfsdMountsTest : public VfsdShareTest {
 protected:
  static bool enter_namespaces() {
    const uid_t uid = ::geteuid();
    const gid_t gid = ::getegid();
    if (uid == 0) return ::unshare(CLONE_NEWNS) == 0;
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << uid << ' ' << uid << " 1";
    std::ofstream("/proc/self/gid_map") << gid << ' ' << gid << " 1";
    return ::geteuid() == uid;
  }
  static void SetUpTestSuite() {
    able_ = enter_namespaces() && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
            ::mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) == 0;
  }
  void SetUp() override {
    if (!able_) GTEST_SKIP() << "mounts, which takes a mount namespace";
    VfsdShareTest::SetUp();
  }
  void TearDown() override {
    vfsd_.reset();
    while (!mounted_.empty()) {
      ::umount2(mounted_.back().c_str(), MNT_DETACH);
      mounted_.pop_back();
    }
  }
  /// A directory with a file "below", that a tmpfs with a file "top" is mounted on.
  void cover(const fs::path& directory, unsigned long propagation = 0) {
    fs::create_directories(directory);
    std::ofstream(directory / "below") << "hidden";
    ASSERT_EQ(::mount("none", directory.c_str(), "tmpfs", 0, "size=1m"), 0);
    mounted_.push_back(directory);
    if (propagation != 0) {
      ASSERT_EQ(::mount(nullptr, directory.c_str(), nullptr, propagation, nullptr), 0);
    }
    std::ofstream(directory / "top") << "seen";
  }
  std::set<std::string> names(std::uint64_t directory) {
    std::set<std::string> found;
    const auto listed = client_->readdirplus(directory);
    if (!listed) return {listed.error().describe()};
    for (const auto& entry : *listed) {
      if (entry.name != "." && entry.name != "..") found.insert(entry.name);
    }
    return found;
  }
  std::string content(std::uint64_t directory, std::string_view name) {
    const auto entry = client_->lookup(directory, name);
    return entry ? client_->read(entry->nodeid, 0, 100).value_or("unreadable") : entry.error().describe();
  }

  using Names = std::set<std::string>;
  static inline bool able_ = false;
  std::vector<fs::path> mounted_;
};

TEST_F(VfsdMountsTest, AreEnteredAsOnTheHost) {
  cover(host("sub"));
  cover(host("unbindable"), MS_UNBINDABLE);
  cover(host("sub/sub sub"));
  std::ofstream(host("file")) << "plain";
  serve({"--sandbox", "namespace"});
  for (const auto* name : {"sub", "unbindable"}) {
    const auto sub = client_->lookup(1, name);
    ASSERT_TRUE(sub);
    EXPECT_TRUE((sub->attr.flags & FUSE_ATTR_SUBMOUNT) != 0) << name;
    EXPECT_EQ(content(sub->nodeid, "top"), "seen");
    EXPECT_EQ(client_->lookup(sub->nodeid, "below")->nodeid, 0U) << name;
    EXPECT_TRUE(client_->create(sub->nodeid, "new", 0644, O_EXCL));
    EXPECT_TRUE(fs::exists(host(name) / "new"));
    EXPECT_EQ(client_->rename(1, "file", sub->nodeid, "file").error().code, EXDEV);
  }
  EXPECT_EQ(names(node("sub")), (Names{"new", "sub sub", "top"}));
  EXPECT_EQ(content(client_->lookup(node("sub"), "sub sub")->nodeid, "top"), "seen");
  EXPECT_EQ(client_->lookup(1, "file")->attr.flags, 0U);
  EXPECT_EQ(client_->rmdir(1, "sub").error().code, EBUSY);
}

TEST_F(VfsdMountsTest, ComeAndGoAsOnTheHost) {
  cover(host("early"));
  serve({"--sandbox", "namespace"});
  const auto early = node("early");
  EXPECT_EQ(content(early, "top"), "seen");
  cover(host("late"));
  EXPECT_EQ(names(node("late")), Names{"top"});
  ASSERT_EQ(::umount(host("early").c_str()), 0) << "nothing of ours keeps it";
  EXPECT_EQ(client_->getattr(early).error().code, ESTALE);
  EXPECT_EQ(names(node("early")), Names{"below"});
}

/// They would be there without any of its attributes, for writing above all.
TEST_F(VfsdMountsTest, OfAReadOnlyShareAreThoseOfItsStart) {
  cover(host("early"));
  fs::create_directory(host("late"));
  std::ofstream(host("late/below")) << "hidden";
  serve({"--sandbox", "namespace", "--read-only"});
  cover(host("late"));
  EXPECT_EQ(names(node("late")), Names{"below"});
  std::ifstream mounts(proc("mountinfo"));
  for (std::string line; std::getline(mounts, line);)
    EXPECT_NE(line.find(" ro,nosuid,nodev,noexec"), std::string::npos) << line;
  EXPECT_EQ(content(node("early"), "top"), "seen");
}

/// /proc is in it, which the daemon goes through itself until it serves.
TEST_F(VfsdMountsTest, TheHostsRootCanBeShared) {
  std::ofstream(host("file")) << "plain";
  for (const bool read_only : {true, false}) {
    std::vector<std::string> words{"--socket-path", dir_ / "s",  "--share",  "/",
                                   "--quiet",       "--sandbox", "namespace"};
    if (read_only) words.emplace_back("--read-only");
    vfsd_ = std::make_unique<VfsdProcess>(std::move(words), dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
    boot({.request_queues = 1});
    std::uint64_t at = 1;
    for (const auto& part : host().relative_path()) {
      const auto entry = client_->lookup(at, part.native());
      ASSERT_TRUE(entry) << part;
      at = entry->nodeid;
    }
    EXPECT_EQ(content(at, "file"), "plain");
    for (const char* kernels : {"proc", "sys"}) EXPECT_EQ(names(node(kernels)), Names{}) << kernels;
    guest_.reset();
    vfsd_.reset();
  }
}

/// By these a guest would write this process's memory, and what the host's kernel goes by.
TEST_F(VfsdMountsTest, TheKernelsOwnFilesAreNotShared) {
  const auto mount_tmpfs_with_proc = [this](const std::string& name) {
    // As a chroot has it: /proc in a directory that is shared.
    fs::create_directories(host(name) / "proc");
    return ::mount("/proc", (host(name) / "proc").c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
  };
  ASSERT_TRUE(mount_tmpfs_with_proc("early"));
  mounted_.push_back(host("early/proc"));
  std::ofstream(host("file")) << "";
  ASSERT_EQ(::mount("/proc/self/status", host("file").c_str(), nullptr, MS_BIND, nullptr), 0);
  mounted_.push_back(host("file"));
  cover(host("early/sub"));
  for (const char* mode : {"namespace", "none"}) {
    serve({"--sandbox", mode});
    const auto proc = client_->lookup(node("early"), "proc");
    ASSERT_TRUE(proc);
    if (std::string_view(mode) == "namespace") {
      EXPECT_EQ(names(proc->nodeid), Names{});
      EXPECT_EQ(client_->lookup(proc->nodeid, "self")->nodeid, 0U);
      EXPECT_FALSE(client_->create(proc->nodeid, "new", 0644, O_EXCL));
    } else {
      EXPECT_EQ(client_->readdirplus(proc->nodeid).error().code, EACCES);
      EXPECT_EQ(client_->lookup(proc->nodeid, "self").error().code, EACCES);
    }
    EXPECT_FALSE(client_->read(client_->lookup(1, "file")->nodeid, 0, 100));
    EXPECT_EQ(content(client_->lookup(node("early"), "sub")->nodeid, "top"), "seen") << "others are there";
    // What comes later comes here, too.
    ASSERT_TRUE(mount_tmpfs_with_proc("late"));
    mounted_.push_back(host("late/proc"));
    const auto late = client_->lookup(node("late"), "proc");
    ASSERT_TRUE(late);
    EXPECT_EQ(client_->lookup(late->nodeid, "self").error().code, EACCES);
    EXPECT_EQ(client_->readdirplus(late->nodeid).error().code, EACCES);
    ASSERT_EQ(::umount2(host("late/proc").c_str(), MNT_DETACH), 0);
    mounted_.pop_back();
    guest_.reset();
    vfsd_.reset();
  }
}

TEST_F(VfsdMountsTest, NorIsADirectoryOfThem) {
  for (const char* mode : {"namespace", "none"}) {
    for (const std::vector<std::string>& what :
         {std::vector<std::string>{"--share", "/proc"}, {"--image", "dir:/proc", "--read-only"}}) {
      std::vector<std::string> words{"--socket-path", dir_ / "s", "--quiet", "--sandbox", mode};
      words.insert(words.end(), what.begin(), what.end());
      vfsd_ = std::make_unique<VfsdProcess>(std::move(words), dir_ / "cache");
      EXPECT_FALSE(vfsd_->ready());
      EXPECT_EQ(vfsd_->wait(), 1);
      EXPECT_NE(vfsd_->messages().find("the kernel's own files"), std::string::npos) << vfsd_->messages();
      vfsd_.reset();
    }
  }
}

TEST_F(VfsdMountsTest, OneDirectoryInTwoPlaces) {
  fs::create_directories(host("a/in"));
  fs::create_directory(host("b"));
  std::ofstream(host("a/file")) << "same";
  ASSERT_EQ(::mount(host("a").c_str(), host("b").c_str(), nullptr, MS_BIND, nullptr), 0);
  mounted_.push_back(host("b"));
  ASSERT_EQ(::mount(host().c_str(), host("a/in").c_str(), nullptr, MS_BIND, nullptr), 0);
  mounted_.push_back(host("a/in"));
  serve({"--sandbox", "namespace"});
  const auto a = node("a");
  const auto b = node("b");
  EXPECT_NE(a, b);
  EXPECT_EQ(content(a, "file"), "same");
  EXPECT_EQ(content(b, "file"), "same");
  const auto in = client_->lookup(a, "in");
  ASSERT_TRUE(in);
  EXPECT_NE(in->nodeid, 1U) << "the top again, below itself";
  EXPECT_EQ(names(in->nodeid), (Names{"a", "b"}));
  EXPECT_EQ(content(a, "file"), "same");
}

TEST_F(VfsdMountsTest, AReadOnlyShareIsMountedSo) {
  cover(host("sub"));
  serve({"--sandbox", "namespace", "--read-only"});
  std::ifstream mounts(proc("mountinfo"));
  std::size_t shares = 0;
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(" /share") != std::string::npos) ++shares;
    EXPECT_NE(line.find(" ro,nosuid,nodev,noexec"), std::string::npos) << line;
  }
  EXPECT_EQ(shares, 2U);
  EXPECT_EQ(content(node("sub"), "top"), "seen");
}

TEST_F(VfsdMountsTest, ADirectoryAsAnImageHasThemToo) {
  cover(host("sub"));
  fs::create_directory(host("late"));
  std::ofstream(host("late/below")) << "found";
  fs::create_directory(host("proc"));
  ASSERT_EQ(::mount("/proc", host("proc").c_str(), nullptr, MS_BIND | MS_REC, nullptr), 0);
  mounted_.push_back(host("proc"));
  for (const bool writable : {false, true}) {
    std::vector<std::string> words{
        "--socket-path",         dir_ / "s", "--quiet", "--sandbox", "namespace", "--image",
        "dir:" + host().string()};
    if (writable) words.insert(words.end(), {"--upper", dir_ / "upper", "--quota", "64M"});
    if (!writable) words.emplace_back("--read-only");
    vfsd_ = std::make_unique<VfsdProcess>(std::move(words), dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
    boot({.request_queues = 1});
    EXPECT_EQ(names(node("sub")), Names{"top"});
    EXPECT_EQ(content(node("sub"), "top"), "seen");
    EXPECT_EQ(names(node("proc")), Names{}) << "the kernel's own files are no part of an image";
    ASSERT_EQ(::mount("none", host("late").c_str(), "tmpfs", 0, "size=1m"), 0);
    mounted_.push_back(host("late"));
    EXPECT_EQ(content(node("late"), "below"), "found") << "what comes later is none of it";
    guest_.reset();
    vfsd_.reset();
    ASSERT_EQ(::umount(host("late").c_str()), 0);
    mounted_.pop_back();
  }
}

}  // namespace
}  // namespace layerboot::test
