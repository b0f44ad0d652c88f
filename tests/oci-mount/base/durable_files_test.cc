// What files.h calls durable is there after a power cut, and before that there is the old or the new.
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "tests/support/host_steps.h"
#include "tests/support/power_disk.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

Result<void> write_file(const std::filesystem::path& path, std::string_view text) {
  LB_ASSIGN(auto file, AtomicFile::create(path));
  LB_TRY(file.append(as_bytes(text)));
  return file.commit();
}

std::string content_of(const std::filesystem::path& path) {
  const auto text = read_file(path, 1000);
  return text ? *text : "none";
}

class DurableFilesTest : public testing::TestWithParam<DiskFs> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "disks are mounted by root";
    if (const auto made = make_disk(GetParam(), empty_); !made) GTEST_SKIP() << made.error().describe();
    if (const auto disk = MountedDisk::mount(GetParam(), empty_, host_); !disk) {
      GTEST_SKIP() << disk.error().describe();
    }
  }

  /// Runs `act`, cuts the power before each of its steps and after it, and gives what is at `path` then.
  std::vector<std::string> cuts(const std::function<Result<void>()>& act, const std::string& path) {
    const auto disk_file = directory_ / "disk.img";
    std::vector<std::string> seen;
    unsigned copies = 0;
    const auto copy = [&] { EXPECT_TRUE(copy_disk(disk_file, directory_ / std::to_string(copies++))); };
    {
      EXPECT_TRUE(copy_disk(empty_, disk_file));
      const auto disk = MountedDisk::mount(GetParam(), disk_file, host_);
      if (!disk) return {disk.error().describe()};
      const auto answer = run_in_steps(
          [&](StepMarks& marks) -> std::string {
            marks.begin();
            const auto done = act();
            return done ? "" : done.error().describe();
          },
          [&](const HostStep&) {
            copy();
            return 0;
          });
      EXPECT_EQ(answer.value_or("no answer"), "");
      copy();
    }
    for (unsigned i = 0; i < copies; ++i) {
      const auto disk = MountedDisk::mount(GetParam(), directory_ / std::to_string(i), host_);
      seen.push_back(disk ? content_of(host_ / path) : disk.error().describe());
    }
    return seen;
  }

  TempDir directory_;
  std::filesystem::path empty_ = directory_ / "empty.img";
  std::filesystem::path host_ = directory_ / "host";
};

TEST_P(DurableFilesTest, ANewFileIsThereOnceCommitted) {
  const auto seen = cuts([&] { return write_file(host_ / "new", "text"); }, "new");
  EXPECT_EQ(seen.back(), "text");
  for (const auto& text : seen) EXPECT_TRUE(text == "none" || text == "text") << text;
}

TEST_P(DurableFilesTest, AReplacedFileIsTheNewOneOnceCommitted) {
  const auto seen = cuts(
      [&]() -> Result<void> {
        LB_TRY(write_file(host_ / "file", "old"));
        return write_file(host_ / "file", "new");
      },
      "file");
  EXPECT_EQ(seen.back(), "new");
  for (const auto& text : seen) EXPECT_TRUE(text == "none" || text == "old" || text == "new") << text;
}

TEST_P(DurableFilesTest, DirectoriesMadeAndFilesRenamedStay) {
  const auto seen = cuts(
      [&]() -> Result<void> {
        LB_TRY(make_directories(host_ / "a/b/c"));
        LB_TRY(write_file(host_ / "file", "text"));
        return rename_durably(host_ / "file", host_ / "a/b/c/file");
      },
      "a/b/c/file");
  EXPECT_EQ(seen.back(), "text");
}

INSTANTIATE_TEST_SUITE_P(Hosts, DurableFilesTest,
                         testing::Values(DiskFs::kExt4, DiskFs::kXfs, DiskFs::kBtrfs),
                         [](const auto& type) { return std::string(name_of(type.param)); });

}  // namespace
}  // namespace layerboot::test
