// The process that unpacks a compressed archive for our programs, as the host's /proc tells it at work.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_support.h"
#include "tests/process/worker_state.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class UnpackingTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    // One huge file of holes, which takes many seconds.
    constexpr std::uint64_t kMemberBytes = 64ULL << 20U;
    constexpr std::uint64_t kMembers = 480;
    TarMember huge;
    huge.name = "huge";
    huge.pax = {{"size", std::to_string(kMembers * kMemberBytes)}};
    std::string archive = gzip(TarBuilder().add(huge).without_end());
    const std::string zeroes = gzip(std::string(kMemberBytes, '\0'));
    for (std::uint64_t i = 0; i < kMembers; ++i) archive += zeroes;
    write_text(slow(), archive);
    std::vector<std::string> words{"env", "XDG_DATA_HOME=" + (dir_ / "data").string(), GetParam()};
    if (words[2] == LAYERBOOT_OCI_MOUNT) {
      words.emplace_back("ls");
    } else {
      words.emplace_back("inspect");
    }
    words.push_back("docker-archive:" + slow());
    pid_ = start_program(words, dir_ / "cache");
    ASSERT_GT(pid_, 0);
    ASSERT_TRUE(comes_true([&] { return (worker_ = find_worker(pid_, "layerboot-unzip")) > 0; }))
        << "no child at work";
  }
  void TearDown() override {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] std::string slow() const { return dir_ / "slow.tar.gz"; }
  /// Files in the cache of what was unpacked.
  [[nodiscard]] std::size_t kept() const {
    std::error_code error;
    const fs::directory_iterator files(dir_ / "cache/layerboot/unpacked", error);
    return error ? 0 : static_cast<std::size_t>(std::distance(files, {}));
  }

  TempDir dir_;
  pid_t pid_ = -1;
  pid_t worker_ = 0;
};

TEST_P(UnpackingTest, HasNothingOfTheHost) {
  if (::geteuid() == 0) {
    EXPECT_EQ(status_of(worker_)["Uid"], "65534\t65534\t65534\t65534");
  }
  expect_nothing_of_the_host(pid_, worker_, slow(), 1);
}

TEST_P(UnpackingTest, EndsWithTheProgram) {
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
  EXPECT_TRUE(comes_true([&] { return ::kill(worker_, 0) != 0; })) << "it goes on alone";
  EXPECT_EQ(kept(), 0U);
}

TEST_P(UnpackingTest, ItsDeathIsOneError) {
  ::kill(worker_, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(kept(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Programs, UnpackingTest, testing::Values(LAYERBOOT_OCI_MOUNT, LAYERBOOT_LAUNCHER),
                         [](const auto& program) { return program.index == 0 ? "OciMount" : "Launcher"; });

}  // namespace
}  // namespace layerboot::test
