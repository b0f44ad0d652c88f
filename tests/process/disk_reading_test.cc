// The process that reads a guest's disk for oci-mount, as the host's /proc tells it, and disks that lie.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_support.h"
#include "tests/process/worker_state.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class DiskReadingTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string tar = TarBuilder().directory("etc").file("etc/kept", "kept").finish();
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(tar).write();
    reference_ = "oci:" + image.layout().string() + ":latest";
    write_text(dir_ / "upper.image", sha256_text(tar));
    for (int i = 0; i < 2000; ++i) {
      const auto directory = dir_ / "tree/upper" / str_cat("directory-", i % 20);
      fs::create_directories(directory);
      write_text(directory / str_cat("a-name-that-is-long-enough-to-fill-a-pipe-soon-", i), "x");
    }
    fs::create_symlink(std::string(200, 't'), dir_ / "tree/upper/link");
    write_text(dir_ / "tree/upper/large", sample_bytes(300'000, 5));
    const Outcome made = run_program(
        {"mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", dir_ / "tree", disk(), "12M"}, dir_ / "cache");
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  std::string disk() const { return dir_ / "upper.raw"; }
  std::vector<std::string> diff(const std::string& of) const {
    return {LAYERBOOT_OCI_MOUNT, "-q", "diff", reference_, of};
  }

  TempDir dir_;
  std::string reference_;
};

TEST_F(DiskReadingTest, WhoReadsItHasNothingOfTheHost) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  ::fcntl(writing.get(), F_SETPIPE_SZ, 4096);  // it stands still in the middle
  const pid_t program = ::fork();
  if (program == 0) {
    ::setenv("XDG_CACHE_HOME", (dir_ / "cache").c_str(), 1);
    ::dup2(writing.get(), STDOUT_FILENO);
    const auto words = diff(disk());
    ::execl(words[0].c_str(), words[0].c_str(), words[1].c_str(), words[2].c_str(), words[3].c_str(),
            words[4].c_str(), nullptr);
    ::_exit(127);
  }
  writing.reset();
  pid_t worker = 0;
  EXPECT_TRUE(comes_true([&] { return (worker = find_worker(program, "layerboot-disk")) > 0; }));
  if (worker > 0) {
    if (::geteuid() == 0) {
      EXPECT_EQ(status_of(worker)["Uid"], "65534\t65534\t65534\t65534");
    }
    expect_nothing_of_the_host(program, worker, disk(), 0);
    ::kill(program, SIGKILL);
    EXPECT_TRUE(comes_true([&] { return ::kill(worker, 0) != 0; })) << "it goes on alone";
  }
  ::kill(program, SIGKILL);
  ::waitpid(program, nullptr, 0);
}

TEST_F(DiskReadingTest, ADiskThatLiesIsOneErrorAtMost) {
  const auto bytes = read_text(disk());
  for (unsigned seed = 0; seed < 16; ++seed) {
    std::mt19937 random(seed);
    std::string lying = bytes;
    // Where the tables are, and the first directories.
    for (int i = 0; i < 300; ++i)
      lying[1024 + random() % (6U << 20)] ^= static_cast<char>(1U << random() % 8);
    const auto magic = bytes.substr(1024, 1024);
    lying.replace(1024, magic.size(), magic);  // else it ends there
    write_text(dir_ / "lying.raw", lying);
    fs::copy_file(dir_ / "upper.image", dir_ / "lying.image", fs::copy_options::overwrite_existing);
    const Outcome seen = run_program(diff(dir_ / "lying.raw"), dir_ / "cache");
    ASSERT_TRUE(seen.exit_code == 0 || seen.exit_code == 1) << seed << ": " << seen.exit_code << seen.err;
    const Outcome layer = run_program(
        {LAYERBOOT_OCI_MOUNT, "-q", "diff", "--layer", "-o", dir_ / "layer", reference_, dir_ / "lying.raw"},
        dir_ / "cache");
    ASSERT_TRUE(layer.exit_code == 0 || layer.exit_code == 1) << seed << ": " << layer.exit_code << layer.err;
    EXPECT_TRUE(layer.exit_code == 0 || !layer.err.empty());
    fs::remove(dir_ / "layer");
  }
}

/// e2fsck would see it; a disk that is read as it lies need not have been through that.
TEST_F(DiskReadingTest, DirectoriesOfSeveralNamesAreOneError) {
  std::string deep = dir_ / "hostile/upper/d";
  std::string links;
  std::string inside = "/upper/d";
  for (int i = 0; i < 40; ++i) {
    links += str_cat("ln ", inside, "/a ", inside, "/b\n");
    inside += "/a";
    deep += "/a";
  }
  fs::create_directories(deep);
  const std::string hostile = dir_ / "hostile.raw";
  fs::copy_file(dir_ / "upper.image", dir_ / "hostile.image");
  write_text(dir_ / "links", links);
  ASSERT_EQ(
      run_program({"mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", dir_ / "hostile", hostile, "8M"},
                  dir_ / "cache")
          .exit_code,
      0);
  ASSERT_EQ(run_program({"debugfs", "-w", "-f", dir_ / "links", hostile}, dir_ / "cache").exit_code, 0);
  for (const bool squash : {false, true}) {
    std::vector<std::string> words = {"timeout", "60", LAYERBOOT_OCI_MOUNT, "-q", "diff",
                                      "--layer", "-o", dir_ / "layer"};
    if (squash) words.emplace_back("--squash");
    words.insert(words.end(), {reference_, hostile});
    const Outcome layer = run_program(words, dir_ / "cache");
    EXPECT_EQ(layer.exit_code, 1) << layer.err;
    EXPECT_NE(layer.err.find("two names"), std::string::npos) << layer.err;
    EXPECT_FALSE(fs::exists(dir_ / "layer"));
  }
  std::vector<std::string> list = diff(hostile);
  list.insert(list.begin(), {"timeout", "60"});
  EXPECT_EQ(run_program(list, dir_ / "cache").exit_code, 1);
}

}  // namespace
}  // namespace layerboot::test
