// What vfsd has and can reach while it serves, as the host's /proc tells it.
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "oci-mount/base/sanitizers.h"
#include "oci-mount/base/str_cat.h"
#include "tests/process/private_containerd.h"
#include "tests/process/vfsd_sandbox_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> status_of(const fs::path& file) {
  std::ifstream in(file);
  std::map<std::string, std::string> values;
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    const auto value = line.find_first_not_of(" \t", colon + 1);
    values[line.substr(0, colon)] = value == std::string::npos ? "" : line.substr(value);
  }
  return values;
}

unsigned long bits(const std::string& hexadecimal) { return std::stoul(hexadecimal, nullptr, 16); }

class SandboxTest : public SandboxedVfsd {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "looks into another process's root, which takes root";
    SandboxedVfsd::SetUp();
  }
  /// Reads a file from an image at both ends and in the middle, changes it, and stops: with all of the
  /// sandbox.
  void serve_and_change(const std::string& reference, const std::string& name, const std::string& content) {
    constexpr std::size_t kPieceBytes = 5000;
    std::filesystem::remove_all(dir_ / "upper");
    vfsd_ = std::make_unique<VfsdProcess>(
        std::vector<std::string>{"--socket-path", dir_ / "s", "--image", reference, "--quiet", "--sandbox",
                                 "namespace", "--upper", dir_ / "upper", "--quota", "64M"},
        dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
    boot();
    const auto file = client_->lookup(1, name);
    ASSERT_TRUE(file);
    for (const std::uint64_t offset :
         {content.size() - std::min(content.size(), kPieceBytes), std::size_t{0}, content.size() / 2}) {
      EXPECT_TRUE(client_->read(file->nodeid, offset, kPieceBytes).value_or("") ==
                  content.substr(offset, kPieceBytes))
          << offset;
    }
    fuse_setattr_in change{};
    change.valid = FATTR_MODE;
    change.mode = S_IFREG | 0600;
    ASSERT_TRUE(client_->setattr(file->nodeid, change)) << "makes a metacopy";
    EXPECT_EQ(client_->write(file->nodeid, 3, "copied up").value_or(0), 9U);
    EXPECT_EQ(client_->read(file->nodeid, 3, 9).value_or(""), "copied up");
    vfsd_->signal(SIGTERM);
    EXPECT_EQ(vfsd_->wait(), 0) << vfsd_->messages();
    EXPECT_EQ(vfsd_->messages(), "");
  }
  /// Without the one that ThreadSanitizer starts before anything of vfsd's runs.
  std::vector<fs::path> threads() {
    std::vector<fs::path> tasks;
    for (const auto& task : fs::directory_iterator(proc("task"))) tasks.push_back(task.path());
    std::ranges::sort(tasks, {}, [](const fs::path& task) { return std::stol(task.filename()); });
    if (kThreadSanitizer && tasks.size() > 1) tasks.erase(tasks.begin() + 1);
    return tasks;
  }
  /// Of every thread, the same.
  void expect_status(const std::string& key, const std::string& wanted) {
    for (const fs::path& task : threads()) {
      EXPECT_EQ(status_of(task / "status")[key], wanted) << key << " of " << task;
    }
  }
};

TEST_F(SandboxTest, SharesNoNamespaceThatCouldBeReachedThrough) {
  start_writable({"--sandbox", "namespace"});
  for (const auto* name : {"mnt", "net", "ipc", "uts", "cgroup"}) {
    EXPECT_NE(fs::read_symlink(proc(std::string("ns/") + name)),
              fs::read_symlink(std::string("/proc/self/ns/") + name))
        << name;
  }
}

TEST_F(SandboxTest, SeesAnEmptyRoot) {
  start_writable({"--sandbox", "namespace"});
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(proc("root"))) {
    const auto path = entry.path().lexically_relative(proc("root")).string();
    if (!path.starts_with("proc/self/fd/")) found.push_back(path);
  }
  std::ranges::sort(found);
  EXPECT_EQ(found, (std::vector<std::string>{"proc", "proc/self", "proc/self/fd"}));
  std::ifstream mounts(proc("mountinfo"));
  std::size_t count = 0;
  for (std::string line; std::getline(mounts, line); ++count)
    EXPECT_NE(line.find(" ro,"), std::string::npos) << line;
  EXPECT_EQ(count, 2U) << "the root and /proc/self/fd";
}

TEST_F(SandboxTest, HasTheRightsThatAnUpperNeeds) {
  start_writable();
  // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, SYS_ADMIN 21, MKNOD 27, SETFCAP 31
  const unsigned long allowed = 1UL << 0 | 1UL << 1 | 1UL << 3 | 1UL << 4 | 1UL << 21 | 1UL << 27 | 1UL << 31;
  for (const fs::path& task : threads()) {
    auto status = status_of(task / "status");
    EXPECT_EQ(bits(status["CapEff"]) & ~allowed, 0U) << task;
    EXPECT_EQ(bits(status["CapPrm"]) & ~allowed, 0U) << task;
    // DAC_READ_SEARCH 2 goes when the right to change this set is gone; without exec and with no_new_privs it
    // is nothing.
    EXPECT_EQ(bits(status["CapBnd"]) & ~(allowed | 1UL << 2), 0U) << task;
  }
  expect_status("CapInh", "0000000000000000");
  expect_status("CapAmb", "0000000000000000");
  expect_status("NoNewPrivs", "1");
  expect_status("Groups", "");
  expect_status("Umask", "0000");
  if (!kSanitizer) expect_status("Seccomp", "2");
}

// Owners, devices and attributes of every kind without the rights that they take natively.
TEST_F(SandboxTest, HasFewRightsWhereOwnersAreRecorded) {
  for (int life = 0; life < 2; ++life) {  // the second finds it so
    start_writable(life == 0 ? std::vector<std::string>{"--record-owners"} : std::vector<std::string>{});
    expect_status("CapEff", "000000000000000a");  // DAC_OVERRIDE 1, FOWNER 3
    expect_status("CapPrm", "000000000000000a");
    boot();
    const auto made = client_->create(1, str_cat("new", life), 0644, O_EXCL);
    ASSERT_TRUE(made);
    EXPECT_TRUE(client_->setxattr(made->nodeid, "trusted.mine", "x"));
    EXPECT_TRUE(client_->setxattr(made->nodeid, "security.mine", "x"));
    EXPECT_TRUE(client_->mknod(1, str_cat("null", life), S_IFCHR | 0666, 0x103));
    fuse_setattr_in change{};
    change.valid = FATTR_UID | FATTR_MODE;
    change.uid = 1000;
    change.mode = S_IFREG | 04755;
    EXPECT_TRUE(client_->setattr(made->nodeid, change));
    EXPECT_TRUE(client_->write(client_->lookup(1, "file")->nodeid, 0, "copied up"));
    EXPECT_EQ(client_->getattr(made->nodeid)->uid, 1000U);
    vfsd_->signal(SIGTERM);
    EXPECT_EQ(vfsd_->wait(), 0) << vfsd_->messages();
  }
  for (const auto& entry : fs::recursive_directory_iterator(dir_ / "upper/upper")) {
    struct stat st{};
    ASSERT_EQ(::lstat(entry.path().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07077, 0U) << entry.path() << " is nobody else's to run";
  }
}

TEST_F(SandboxTest, HasNoRightsWhereNothingIsWritten) {
  start({"--read-only"});
  expect_status("CapEff", "0000000000000000");
  expect_status("CapPrm", "0000000000000000");
  boot();
  EXPECT_EQ(client_->read(client_->lookup(1, "file")->nodeid, 0, 100).value_or(""), "from the image");
  EXPECT_EQ(client_->mkdir(1, "d", 0755).error().code, EROFS);
}

TEST_F(SandboxTest, ReadsTheFilesOfADirectory) {
  fs::create_directories(dir_ / "tree/sub");
  std::ofstream(dir_ / "tree/sub/theirs") << "in place";
  ASSERT_EQ(::chown((dir_ / "tree/sub/theirs").c_str(), 1000, 1000), 0);
  ASSERT_EQ(::chmod((dir_ / "tree/sub/theirs").c_str(), 0600), 0);
  for (const bool writable : {false, true}) {
    std::vector<std::string> words{"--socket-path", dir_ / "s", "--image", "dir:" + (dir_ / "tree").string(),
                                   "--quiet"};
    if (writable) {
      words.insert(words.end(), {"--upper", dir_ / "upper", "--quota", "64M"});
    } else {
      words.emplace_back("--read-only");
    }
    vfsd_ = std::make_unique<VfsdProcess>(std::move(words), dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
    boot();
    const auto file = client_->lookup(client_->lookup(1, "sub")->nodeid, "theirs");
    ASSERT_TRUE(file);
    EXPECT_EQ(client_->read(file->nodeid, 0, 100).value_or("nothing"), "in place") << writable;
    vfsd_->signal(SIGTERM);
    EXPECT_EQ(vfsd_->wait(), 0) << vfsd_->messages();
  }
}

// Whatever an image is read from must be open, or made, before the door is shut; recut zstd most of all.
TEST_F(SandboxTest, ServesImagesOutOfEverything) {
  if (std::system("command -v skopeo > /dev/null") != 0) {
    GTEST_SKIP() << "skopeo is not installed: ./dev setup installs it";
  }
  constexpr std::size_t kPieceBytes = 12U << 20;  // over the size from which one zstd frame is cut anew
  std::string content(kPieceBytes, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761U >> 13);
  ImageBuilder large(dir_ / "large");
  large.add_plain_layer(TarBuilder().file("content", content).finish());
  large.write();
  const std::string at = dir_.path().string();
  const std::string layout = "oci:" + at + "/large:latest";
  const struct {
    const char* name;
    std::string from;
    std::string reference;
  } kinds[] = {{"oci-archive", layout, "oci-archive:" + at + "/oci.tar"},
               {"docker-archive", layout, "docker-archive:" + at + "/docker.tar"},
               {"docker-archive", "", "docker-archive:" + at + "/packed.tar.gz"},
               {"zstd", "--dest-compress --dest-compress-format zstd docker-archive:" + at + "/docker.tar",
                "oci:" + at + "/zstd:latest"}};
  for (const auto& [name, from, reference] : kinds) {
    SCOPED_TRACE(name);
    const std::string make = from.empty() ? str_cat("gzip -c ", at, "/docker.tar > ", at, "/packed.tar.gz")
                                          : str_cat("skopeo copy --quiet ", from, " ", reference);
    ASSERT_EQ(std::system(make.c_str()), 0);
    serve_and_change(reference, "content", content);
  }
  const auto is_recut = [](const auto& entry) { return entry.path().extension() == ".zst"; };
  EXPECT_EQ(std::ranges::count_if(fs::recursive_directory_iterator(dir_ / "cache"), is_recut), 1);
}

TEST_F(SandboxTest, ServesAnImageInContainerd) {
  PrivateContainerd containerd(dir_ / "ctd");
  if (!containerd.works()) GTEST_SKIP() << containerd.why_not();
  if (std::system("command -v skopeo > /dev/null") != 0) {
    GTEST_SKIP() << "skopeo is not installed: ./dev setup installs it";
  }
  containerd.put_into_environment();
  const auto imported = containerd.import(dir_ / "image", "latest");
  ASSERT_TRUE(imported) << imported.error().text;
  const std::string& name = *imported;
  serve_and_change("containerd:" + name, "file", "from the image");
}

TEST_F(SandboxTest, ServesWithoutNamespacesToo) {
  start_writable({"--sandbox", "none"});
  EXPECT_EQ(fs::read_symlink(proc("ns/mnt")), fs::read_symlink("/proc/self/ns/mnt"));
  expect_status("NoNewPrivs", "1");
  expect_status("Groups", "");
  boot();
  const auto made = client_->create(1, "new", 0644, O_EXCL);
  ASSERT_TRUE(made);
  EXPECT_TRUE(client_->setxattr(made->nodeid, "trusted.mine", "x"));
  EXPECT_TRUE(client_->write(client_->lookup(1, "file")->nodeid, 0, "copied up"));
}

/// Whether `uid`, with `gid` and no other group, is served as a front end.
bool is_served(const fs::path& socket, uid_t uid, gid_t gid) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 || ::setresuid(uid, uid, uid) != 0)
      ::_exit(2);
    const auto guest = FakeGuest::connect(socket, {});
    ::_exit(guest && (*guest)->boot() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_NE(WEXITSTATUS(status), 2);
  return status == 0;
}

TEST_F(SandboxTest, ServesOnlyWhoItIsFor) {
  constexpr uid_t kUser = 65534;
  constexpr gid_t kGroup = 54321;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  start({"--read-only", "--socket-group", std::to_string(kGroup)});
  EXPECT_TRUE(is_served(dir_ / "s", kUser, kGroup));
  EXPECT_FALSE(is_served(dir_ / "s", kUser, kUser));
  EXPECT_EQ(vfsd_->messages(), "");
  ASSERT_EQ(::chmod((dir_ / "s").c_str(), 0666), 0);
  EXPECT_FALSE(is_served(dir_ / "s", kUser, kUser)) << "whatever the file's mode";
  EXPECT_NE(vfsd_->messages().find("of user 65534 may not be the front end"), std::string::npos);
  EXPECT_TRUE(is_served(dir_ / "s", 0, 0)) << "it goes on";
}

TEST_F(SandboxTest, ModesThatAreNoneAreUsageErrors) {
  for (const auto* option : {"--sandbox", "--seccomp"}) {
    VfsdProcess vfsd({"--socket-path", dir_ / "s", "--image", "oci:x", "--read-only", option, "perhaps"},
                     dir_ / "cache");
    EXPECT_EQ(vfsd.wait(), 2) << option;
  }
}

TEST_F(SandboxTest, MayOpenFewDescriptors) {
  constexpr unsigned kQueues = 3;
  start_writable({"--request-queues", std::to_string(kQueues)});
  unsigned highest = 0;
  for (const auto& entry : fs::directory_iterator(proc("fd"))) {
    highest = std::max(highest, static_cast<unsigned>(std::stoul(entry.path().filename())));
  }
  std::ifstream limits(proc("limits"));
  for (std::string line; std::getline(limits, line);) {
    if (!line.starts_with("Max open files")) continue;
    std::istringstream words(line.substr(14));
    unsigned soft = 0;
    unsigned hard = 0;
    words >> soft >> hard;
    EXPECT_EQ(soft, hard);
    // 256 requests of each queue may be at work, each with two.
    constexpr unsigned kOfRequests = kQueues * 256 * 2;
    EXPECT_LE(soft, std::max(highest, 77U) + 1 + 512 + kOfRequests) << "77 is the test's --ready-fd";
    rlimit own{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &own), 0);
    if (own.rlim_max > 4096) {
      EXPECT_GE(soft, 512 + kOfRequests) << "fewer than requests may take";
    }
    return;
  }
  FAIL() << "no limit is listed";
}

TEST_F(SandboxTest, KeepsTheLaunchersDeathSignal) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const std::string image = "oci:" + (dir_ / "image").string();
  const std::string upper = dir_ / "upper";
  const std::string socket = dir_ / "s";
  const std::string index = dir_ / "index";
  const pid_t parent = ::fork();
  if (parent == 0) {
    const pid_t middle = ::getpid();
    if (::fork() == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != middle) ::_exit(1);
      const pid_t own = ::getpid();
      if (::write(writing.get(), &own, sizeof(own)) != sizeof(own)) ::_exit(1);
      ::dup2(writing.get(), 78);  // which no program of ours keeps that is not told to
      ::dup2(writing.get(), 79);
      ::execl(LAYERBOOT_VFSD, "vfsd", "--socket-path", socket.c_str(), "--image", image.c_str(), "--upper",
              upper.c_str(), "--index-dir", index.c_str(), "--quota", "64M", "--quiet", "--ready-fd", "79",
              nullptr);
      ::_exit(1);
    }
    writing.reset();
    for (;;) ::pause();
  }
  writing.reset();
  pid_t vfsd = -1;
  ASSERT_EQ(::read(reading.get(), &vfsd, sizeof(vfsd)), static_cast<ssize_t>(sizeof(vfsd)));
  std::array<char, 256> ready{};
  const ssize_t said_bytes = ::read(reading.get(), ready.data(), ready.size());
  ASSERT_GT(said_bytes, 0);
  EXPECT_TRUE(std::string_view(ready.data(), static_cast<std::size_t>(said_bytes)).starts_with("ready"));
  char c = 0;
  EXPECT_EQ(::read(reading.get(), &c, 1), 0) << "a stray descriptor stayed open";
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, vfsd, 0)));
  ASSERT_TRUE(process);
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  pollfd end{process.get(), POLLIN, 0};
  if (::poll(&end, 1, 30'000) != 1) {
    ::kill(vfsd, SIGKILL);
    FAIL() << "vfsd outlives its parent";
  }
}

TEST_F(SandboxTest, AStopDoesNotInterruptTheEnd) {
  for (int i = 0; i < 10; ++i) {
    start_writable({"--once"});
    boot();
    ASSERT_TRUE(client_->write(client_->lookup(1, "file")->nodeid, 0, "to be written back"));
    guest_->hang_up();
    vfsd_->signal(SIGTERM);
    EXPECT_EQ(vfsd_->wait(), 0) << i << ": " << vfsd_->messages();
  }
}

TEST_F(SandboxTest, AnOrdinaryUserGetsOneToo) {
  constexpr uid_t kNobody = 65534;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0777), 0);
  for (const auto& entry : fs::recursive_directory_iterator(dir_.path())) {
    ASSERT_EQ(::chown(entry.path().c_str(), kNobody, kNobody), 0);
  }
  ASSERT_EQ(::setresgid(kNobody, kNobody, 0), 0);
  ASSERT_EQ(::setresuid(kNobody, kNobody, 0), 0);  // exec makes it all of them
  const bool can_start = ::access(LAYERBOOT_VFSD, X_OK) == 0;
  if (can_start) start({"--read-only", "--sandbox", "namespace"});
  ASSERT_EQ(::setresuid(0, 0, 0), 0);
  ASSERT_EQ(::setresgid(0, 0, 0), 0);
  if (!can_start) GTEST_SKIP() << "the build directory is not for everybody to enter";
  ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
  expect_status("Uid", "65534\t65534\t65534\t65534");
  expect_status("CapEff", "0000000000000000");
  EXPECT_NE(fs::read_symlink(proc("ns/user")), fs::read_symlink("/proc/self/ns/user"));
  boot();
  EXPECT_EQ(client_->read(client_->lookup(1, "file")->nodeid, 0, 100).value_or(""), "from the image");
  vfsd_->signal(SIGTERM);
  EXPECT_EQ(vfsd_->wait(), 0) << vfsd_->messages();
  EXPECT_FALSE(fs::exists(dir_ / "s"));
}

}  // namespace
}  // namespace layerboot::test
