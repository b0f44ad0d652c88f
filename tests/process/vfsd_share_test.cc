// A directory of the host served in place, by vfsd in its sandbox: what the host notices of it.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <set>

#include "oci-mount/base/bytes.h"
#include "tests/process/hung_file_system.h"
#include "tests/process/vfsd_sandbox_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class VfsdShareTest : public SandboxedVfsd {
 protected:
  void SetUp() override { fs::create_directory(host()); }
  void serve(std::vector<std::string> more = {}) {
    std::vector<std::string> words{"--socket-path", dir_ / "s", "--share", host(), "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    vfsd_ = std::make_unique<VfsdProcess>(std::move(words), dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
    boot({.request_queues = 1});
  }
  [[nodiscard]] fs::path host(const std::string& path = {}) const {
    return path.empty() ? dir_ / "share" : dir_ / "share" / path;
  }
  /// The node of a name in the directory.
  std::uint64_t node(std::string_view name) {
    const auto entry = client_->lookup(1, name);
    EXPECT_TRUE(entry) << name;
    return entry ? entry->nodeid : 0;
  }
};

/// Whether the host runs it: 0, or the errno of exec.
int run_on_host(const fs::path& program) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl(program.c_str(), program.c_str(), nullptr);
    ::_exit(errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(VfsdShareTest, TheHostRunsWhatTheGuestHasRead) {
  for (const bool read_only : {false, true}) {
    fs::copy_file("/bin/true", host("tool"), fs::copy_options::overwrite_existing);
    serve(read_only ? std::vector<std::string>{"--read-only"} : std::vector<std::string>());
    const auto tool = node("tool");
    const auto reading = client_->open(tool, O_RDONLY);
    ASSERT_TRUE(reading) << reading.error().describe();
    EXPECT_TRUE(client_->read(tool, 0, 64));
    EXPECT_EQ(run_on_host(host("tool")), 0) << "while the guest has it open";
    const auto writing = client_->open(tool, O_RDWR);
    EXPECT_EQ(writing ? 0 : writing.error().code, read_only ? EROFS : 0);
    if (!read_only) {
      EXPECT_EQ(run_on_host(host("tool")), ETXTBSY);
      EXPECT_TRUE(client_->release(tool, O_RDWR));
    }
    EXPECT_EQ(run_on_host(host("tool")), 0);
    guest_.reset();
    vfsd_.reset();
  }
}

TEST_F(VfsdShareTest, TheHostIsToldWhoHasClosedWhat) {
  std::ofstream(host("text")) << "hi";
  serve();
  const UniqueFd watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_GE(::inotify_add_watch(watch.get(), host("text").c_str(), IN_CLOSE_WRITE | IN_CLOSE_NOWRITE), 0);
  const auto told = [&] {
    std::uint32_t mask = 0;
    alignas(inotify_event) char events[4096];
    const ssize_t got = ::read(watch.get(), events, sizeof(events));
    for (ssize_t at = 0; at < got;) {
      const auto* const event = reinterpret_cast<const inotify_event*>(events + at);
      mask |= event->mask;
      at += static_cast<ssize_t>(sizeof(*event) + event->len);
    }
    return mask;
  };
  const auto text = node("text");
  const auto reading = client_->open(text, O_RDONLY);
  ASSERT_TRUE(reading);
  EXPECT_EQ(client_->read(text, 0, 2).value_or(""), "hi");
  EXPECT_EQ(told(), 0U);
  EXPECT_TRUE(client_->release(text, *reading));
  EXPECT_EQ(told(), std::uint32_t{IN_CLOSE_NOWRITE}) << "a reader that has changed nothing";
  const auto writing = client_->open(text, O_WRONLY);
  ASSERT_TRUE(writing);
  EXPECT_TRUE(client_->write(text, 0, "ho"));
  EXPECT_EQ(told(), 0U);
  EXPECT_TRUE(client_->release(text, *writing));
  EXPECT_EQ(told(), std::uint32_t{IN_CLOSE_WRITE});
}

TEST_F(VfsdShareTest, ACreatedFileIsOpenUntilItIsReleased) {
  serve();
  const auto made = client_->create(1, "tool", 0755, O_EXCL | O_WRONLY);
  ASSERT_TRUE(made);
  std::ifstream program("/bin/true", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(program), {}};
  for (std::size_t at = 0; at < bytes.size(); at += 65536)
    ASSERT_TRUE(client_->write(made->nodeid, at, bytes.substr(at, 65536)));
  EXPECT_EQ(run_on_host(host("tool")), ETXTBSY);
  EXPECT_TRUE(client_->release(made->nodeid, O_WRONLY));
  EXPECT_EQ(run_on_host(host("tool")), 0);
}

TEST_F(VfsdShareTest, ManyOpenFilesOutliveTheirNames) {
  constexpr int kFiles = 1000;
  serve();
  std::vector<std::uint64_t> nodes;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = "f" + std::to_string(i);
    const auto made = client_->create(1, name, 0644, O_EXCL | O_RDWR);
    ASSERT_TRUE(made) << i << made.error().describe();
    ASSERT_TRUE(client_->write(made->nodeid, 0, name));
    ASSERT_TRUE(client_->unlink(1, name));
    nodes.push_back(made->nodeid);
  }
  EXPECT_TRUE(fs::is_empty(host()));
  for (int i = 0; i < kFiles; ++i)
    EXPECT_EQ(client_->read(nodes[static_cast<std::size_t>(i)], 0, 10).value_or(""), "f" + std::to_string(i));
  for (const auto one : nodes) {
    EXPECT_TRUE(client_->release(one, O_RDWR));
    EXPECT_TRUE(client_->forget(one, 1));
  }
  EXPECT_LT(open_descriptors(), 100U);
}

// ---- rights
// ------------------------------------------------------------------------------------------------

TEST_F(VfsdShareTest, SetIdFilesOfTheHostLoseThatWithTheGuestsBytes) {
  const auto reset = [&] {
    std::ofstream(host("helper")) << "a helper of the host";
    ASSERT_EQ(::chmod(host("helper").c_str(), 06755), 0);
  };
  const auto bits = [&] {
    struct stat st{};
    ::stat(host("helper").c_str(), &st);
    return st.st_mode & 07777;
  };
  reset();
  serve();
  const auto helper = node("helper");
  EXPECT_EQ(client_->getattr(helper)->mode & 07777, 06755U);
  const auto writing = client_->open(helper, O_WRONLY);
  ASSERT_TRUE(writing);
  EXPECT_TRUE(client_->write(helper, 0, "the guest's")) << "as its root, without a word about set-id";
  EXPECT_EQ(bits(), 0755U);
  reset();
  EXPECT_TRUE(client_->fallocate(helper, 0, 0, 100'000));
  EXPECT_EQ(bits(), 0755U);
  reset();
  fuse_setattr_in cut{};
  cut.valid = FATTR_SIZE;
  cut.size = 3;
  EXPECT_TRUE(client_->setattr(helper, cut));
  EXPECT_EQ(bits(), 0755U);
}

TEST_F(VfsdShareTest, WhatTheGuestsUsersMakeIsTheirsWhereverTheyMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "files of others, which takes root";
  // Of a group that the guest knows him to be in, or of an ACL, the host knows nothing.
  ASSERT_EQ(::chmod(host().c_str(), 0770), 0);
  serve();
  fuse_mkdir_in in{};
  in.mode = 0755;
  const auto name = with_nul("d");
  auto request = client_->encode(FUSE_MKDIR, 1, {object_bytes(in), name});
  fuse_in_header header{};
  std::memcpy(&header, request.data(), sizeof(header));
  header.uid = 1000;
  header.gid = 1001;
  std::memcpy(request.data(), &header, sizeof(header));
  const auto made = client_->exchange(request, sizeof(fuse_out_header) + sizeof(fuse_entry_out));
  ASSERT_TRUE(made) << made.error().describe();
  struct stat st{};
  ASSERT_EQ(::stat(host("d").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 1000U);
  EXPECT_EQ(st.st_gid, 1001U);
  fuse_setattr_in change{};
  change.valid = FATTR_MODE;
  change.mode = S_IFDIR | 02775;
  ASSERT_TRUE(client_->setattr(node("d"), change));
  ASSERT_EQ(::stat(host("d").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 02775U) << "a directory's bit that hands down its group";
}

TEST_F(VfsdShareTest, AMapOfIdsIsRootsAlone) {
  std::vector<std::string> words{"--socket-path", dir_ / "s", "--share", host(), "--idmap", "1000:1001"};
  if (::geteuid() != 0) {
    VfsdProcess refused(words, dir_ / "cache");
    EXPECT_FALSE(refused.ready());
    EXPECT_NE(refused.messages().find("takes root"), std::string::npos) << refused.messages();
    return;
  }
  serve({"--idmap", "1000:1001"});
  EXPECT_EQ(client_->mkdir(1, "d", 0755).error().code, EACCES)
      << "the directory is nobody's whom the guest knows";
  ASSERT_EQ(::chown(host().c_str(), 1000, 1001), 0);
  ASSERT_TRUE(client_->mkdir(1, "d", 0755));
  struct stat st{};
  ASSERT_EQ(::stat(host("d").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 1000U);
  EXPECT_EQ(st.st_gid, 1001U);
  EXPECT_EQ(client_->getattr(node("d"))->uid, 0U);
}

TEST_F(VfsdShareTest, ALimitOfFileSizesIsAnErrorOfTheGuests) {
  serve();
  constexpr rlim_t kLimit = 1U << 20;
  const rlimit small{.rlim_cur = kLimit, .rlim_max = kLimit};
  ASSERT_EQ(::prlimit(vfsd_->pid(), RLIMIT_FSIZE, &small, nullptr), 0);
  const auto file = client_->create(1, "file", 0644, O_EXCL);
  ASSERT_TRUE(file);
  fuse_setattr_in longer{};
  longer.valid = FATTR_SIZE;
  longer.size = 2 * kLimit;
  EXPECT_EQ(client_->setattr(file->nodeid, longer).error().code, EFBIG);
  EXPECT_EQ(client_->write(file->nodeid, 2 * kLimit, "x").error().code, EFBIG);
  EXPECT_TRUE(client_->getattr(file->nodeid)) << "the daemon lives";
}

// ---- what others have
// --------------------------------------------------------------------------------------

TEST_F(VfsdShareTest, EndsThoughTheDirectoryDoesNotAnswer) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounts a FUSE file system that does not answer, which takes root";
  HungFileSystem hung(host());
  ASSERT_TRUE(hung.mounted()) << "no /dev/fuse";
  serve();
  hung.stop_answering();
  // The queue's own thread asks.
  auto& queue = guest_->queue(1);
  const auto name = with_nul("file");
  const auto request = client_->encode(FUSE_LOOKUP, 1, {name});
  const auto prepared = queue.prepare(request, 256);
  ASSERT_TRUE(prepared);
  queue.offer(prepared->head);
  queue.kick();
  ASSERT_TRUE(hung.wait_for_question());
  vfsd_->signal(SIGTERM);
  EXPECT_EQ(vfsd_->wait(), 1);
  EXPECT_NE(vfsd_->messages().find("does not answer"), std::string::npos) << vfsd_->messages();
}

// ---- what is mounted in the directory
// ----------------------------------------------------------------------

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
    guest_.reset();
    vfsd_.reset();
  }
}

}  // namespace
}  // namespace layerboot::test
