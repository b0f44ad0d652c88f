// The process that indexes a layer for our programs, as the host's /proc tells it while it is at work.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "oci-mount/base/sanitizers.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

std::string proc(pid_t pid, const std::string& name) { return "/proc/" + std::to_string(pid) + "/" + name; }

std::map<std::string, std::string> status_of(pid_t pid) {
  std::ifstream in(proc(pid, "status"));
  std::map<std::string, std::string> values;
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    const auto value = line.find_first_not_of(" \t", colon + 1);
    values[line.substr(0, colon)] = value == std::string::npos ? "" : line.substr(value);
  }
  return values;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream in(proc(pid, "task/" + std::to_string(pid) + "/children"));
  std::vector<pid_t> children;
  for (pid_t child = 0; in >> child;) children.push_back(child);
  return children;
}

/// Waits until `holds`, for half a minute at most.
template <typename Condition>
bool comes_true(Condition holds) {
  for (int i = 0; i < 3000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

class IndexingTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(TarBuilder().file("file", "x").finish());
    image.write();
    // So that the only layer left to be indexed is the slow one.
    const Outcome indexed =
        run_program({LAYERBOOT_OCI_MOUNT, "ls", "oci:" + (dir_ / "image").string()}, dir_ / "cache");
    ASSERT_EQ(indexed.exit_code, 0) << indexed.err;
    // One huge file of holes: reading it takes seconds.
    constexpr std::uint64_t kFileBytes = 30ULL << 30U;
    TarMember huge;
    huge.name = "huge";
    huge.pax = {{"size", std::to_string(kFileBytes)}};
    const std::string head = TarBuilder().add(huge).without_end();
    write_text(dir_ / "slow.tar", head);
    fs::resize_file(dir_ / "slow.tar", head.size() + kFileBytes);
    start();
  }
  void TearDown() override {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void start() {
    const std::string image = "oci:" + (dir_ / "image").string();
    std::vector<std::string> words{GetParam()};
    if (words[0] == LAYERBOOT_VFSD) {
      words.insert(words.end(), {"--socket-path", dir_ / "s", "--image", image, "--upper", dir_ / "upper",
                                 "--quota", "64M", "--add-layer", dir_ / "slow.tar"});
    } else {
      words.insert(words.end(), {"ls", "--add-layer", dir_ / "slow.tar", image});
    }
    pid_ = start_program(words, dir_ / "cache");
    ASSERT_GT(pid_, 0);
    ASSERT_TRUE(comes_true([&] { return find_worker(); })) << "no child at work";
  }
  /// The one that reads the layer: the child, or, where that has process numbers of its own, its child. At
  /// work when it has its second thread, and its filter.
  bool find_worker() {
    for (const pid_t child : children_of(pid_)) {
      const auto below = children_of(child);
      worker_ = below.empty() ? child : below.front();
      auto status = status_of(worker_);
      const bool is_shut = kSanitizer || status["Seccomp"] == "2";
      if (is_shut && status["Name"] == "layerboot-index" && std::stoi(status["Threads"]) >= 2) return true;
    }
    return false;
  }
  bool has_namespaces() {
    std::error_code error;
    return fs::read_symlink(proc(worker_, "ns/pid"), error) != fs::read_symlink("/proc/self/ns/pid", error);
  }
  /// Files in the index directory that are of the slow layer.
  std::vector<std::string> kept() const {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& file : fs::recursive_directory_iterator(dir_ / "cache", error)) {
      if (file.path().filename().string().starts_with("file-")) names.push_back(file.path().filename());
    }
    return names;
  }

  TempDir dir_;
  pid_t pid_ = -1;
  pid_t worker_ = -1;
};

TEST_P(IndexingTest, HasNothingOfTheHost) {
  auto status = status_of(worker_);
  for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapAmb"})
    EXPECT_EQ(status[set], "0000000000000000") << set;
  EXPECT_EQ(status["NoNewPrivs"], "1");
  if (::geteuid() != 0) GTEST_SKIP() << "the rest of another process's state takes root";
  if (GetParam() == std::string(LAYERBOOT_OCI_MOUNT)) {
    EXPECT_EQ(status["Uid"], "65534\t65534\t65534\t65534");
    EXPECT_EQ(status["Gid"], "65534\t65534\t65534\t65534");
  }
  std::set<std::string> open;
  for (const auto& fd : fs::directory_iterator(proc(worker_, "fd"))) open.insert(fs::read_symlink(fd.path()));
  EXPECT_LE(open.size(), 5U) << "/dev/null, the blob, the index, the recut file, a socket";
  EXPECT_TRUE(open.contains((dir_ / "slow.tar").string()));
  for (const auto& file : open) {
    EXPECT_TRUE(file == "/dev/null" || file.starts_with("socket:") || file == (dir_ / "slow.tar").string() ||
                file.find("(deleted)") != std::string::npos)
        << file;
  }
  if (!has_namespaces()) GTEST_SKIP() << "this host gives no namespaces";
  EXPECT_TRUE(fs::is_empty(proc(worker_, "root")));
  for (const char* name : {"mnt", "net", "ipc", "uts", "cgroup", "pid"}) {
    EXPECT_NE(fs::read_symlink(proc(worker_, std::string("ns/") + name)),
              fs::read_symlink(proc(pid_, std::string("ns/") + name)))
        << name;
  }
}

TEST_P(IndexingTest, EndsWithTheProgram) {
  for (const int signal : {SIGINT, SIGKILL}) {
    if (signal != SIGINT) start();
    const pid_t worker = worker_;
    ::kill(pid_, signal);
    int status = 0;
    ASSERT_EQ(::waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << status;
    EXPECT_TRUE(comes_true([&] { return ::kill(worker, 0) != 0; })) << "it goes on alone";
    EXPECT_TRUE(kept().empty());
  }
}

TEST_P(IndexingTest, ItsDeathIsOneError) {
  ::kill(worker_, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_TRUE(kept().empty());
}

INSTANTIATE_TEST_SUITE_P(Programs, IndexingTest, testing::Values(LAYERBOOT_OCI_MOUNT, LAYERBOOT_VFSD),
                         [](const auto& program) { return program.index == 0 ? "OciMount" : "Vfsd"; });

}  // namespace
}  // namespace layerboot::test
