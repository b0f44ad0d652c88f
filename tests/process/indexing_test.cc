// The process that indexes a layer for our programs, as the host's /proc tells it while it is at work.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/process/mount_support.h"
#include "tests/process/worker_state.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

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
  /// At work when it has its second thread, too.
  bool find_worker() {
    worker_ = test::find_worker(pid_, "layerboot-index");
    return worker_ > 0 && std::stoi(status_of(worker_)["Threads"]) >= 2;
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
  if (::geteuid() == 0 && GetParam() == std::string(LAYERBOOT_OCI_MOUNT)) {
    auto status = status_of(worker_);
    EXPECT_EQ(status["Uid"], "65534\t65534\t65534\t65534");
    EXPECT_EQ(status["Gid"], "65534\t65534\t65534\t65534");
  }
  // Not the layer: it gets that in pieces.
  expect_nothing_of_the_host(pid_, worker_, "/memfd:layerboot-blob (deleted)", 3);
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
