#include "launcher/disk/upper_disk.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>

#include <cstdlib>
#include <iostream>

#include "launcher/host/child.h"
#include "launcher/host/disk_usage.h"
#include "launcher/host/held_user.h"
#include "launcher/host/run_tool.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/size.h"
#include "tests/launcher/own_user_namespace.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

class UpperDisk : public testing::Test {
 protected:
  StateDirs dirs() const {
    return {.data = scratch_.path() / "data",
            .cache = scratch_.path() / "cache",
            .runtime = scratch_.path() / "run"};
  }
  VmRecord record(UpperKind kind) const {
    VmRecord vm;
    vm.name = "a";
    vm.run.upper = kind;
    return vm;
  }

  ScratchDir scratch_;
};

TEST_F(UpperDisk, IsSparseSoundAndGrows) {
  const auto path = scratch_.path() / "upper.raw";
  const auto made = make_upper_disk(path, 4096 * kMib);
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_EQ(std::filesystem::file_size(path), 4096 * kMib);
  EXPECT_LT(*allocated_bytes(path), 8 * kMib) << "neither tables nor journal are written";
  ASSERT_TRUE(run_tool({"e2fsck", "-fn", path.string()}));
  ASSERT_TRUE(make_upper_disk(path, 5000 * kMib));
  EXPECT_EQ(std::filesystem::file_size(path), 5000 * kMib);
  const auto smaller = make_upper_disk(path, 4096 * kMib);
  ASSERT_FALSE(smaller);
  EXPECT_NE(smaller.error().text.find("5000M"), std::string::npos) << smaller.error().text;
  EXPECT_EQ(std::filesystem::file_size(path), 5000 * kMib);
  EXPECT_FALSE(make_upper_disk(scratch_.path() / "tiny", kMib));
  EXPECT_FALSE(std::filesystem::exists(scratch_.path() / "tiny"));
}

TEST_F(UpperDisk, IsCheckedByNobody) {
  if (!can_change_user()) GTEST_SKIP() << "only root becomes another user";
  std::filesystem::create_directories(dirs().runtime);
  const auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory) << directory.error().describe();
  const auto disk = directory->paths().upper_disk();
  ASSERT_TRUE(make_upper_disk(disk, 64 * kMib));
  const auto settled = settle_upper_disk(directory->paths());
  ASSERT_TRUE(settled) << settled.error().describe();
  struct stat st{};
  ASSERT_EQ(::stat(disk.c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0U) << "its owner is as before";
  EXPECT_EQ(st.st_mode & 07777, 0600U);
  if (!can_be_apart(CLONE_NEWNS)) return;
  // In the place of one that a guest has taken over.
  const auto tool =
      scratch_.script("e2fsck", str_cat("id > ", (scratch_.path() / "was-here").string(), "; exit 0"));
  // Open to any user: it is the view that has neither.
  for (const auto& place : {scratch_.path(), tool})
    std::filesystem::permissions(place, std::filesystem::perms::all);
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", str_cat(scratch_.path().string(), ":", path).c_str(), 1);
  EXPECT_FALSE(settle_upper_disk(directory->paths()));
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_FALSE(std::filesystem::exists(scratch_.path() / "was-here"));
}

TEST_F(UpperDisk, IsCheckedAsWeAreWhereThereIsNobodyElse) {
  std::filesystem::create_directories(dirs().runtime);
  const auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory) << directory.error().describe();
  ASSERT_TRUE(make_upper_disk(directory->paths().upper_disk(), 64 * kMib));
  const auto status = in_own_user_namespace([&] {
    const auto settled = settle_upper_disk(directory->paths());
    if (!settled) std::cerr << settled.error().describe() << '\n';
    return settled ? 0 : 1;
  });
  if (!status) GTEST_SKIP() << "no user namespaces here";
  EXPECT_EQ(*status, 0);
}

TEST_F(UpperDisk, IsNotDamagedWhereNobodyHasLooked) {
  std::filesystem::create_directories(dirs().runtime);
  const auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory) << directory.error().describe();
  ASSERT_TRUE(make_upper_disk(directory->paths().upper_disk(), 64 * kMib));
  const auto tool = scratch_.script("e2fsck", "");
  std::ofstream(tool) << "no program";
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", str_cat(scratch_.path().string(), ":", path).c_str(), 1);
  const auto status = in_own_user_namespace([&] {
    const auto settled = settle_upper_disk(directory->paths());
    const std::string text = settled ? "" : settled.error().describe();
    std::cerr << text << '\n';
    return text.find("cannot check") != std::string::npos && text.find("damaged") == std::string::npos ? 0
                                                                                                       : 1;
  });
  ::setenv("PATH", path.c_str(), 1);
  if (!status) GTEST_SKIP() << "no user namespaces here";
  EXPECT_EQ(*status, 0);
}

TEST_F(UpperDisk, ADiskThatIsDamagedIsNamed) {
  const auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory) << directory.error().describe();
  const auto disk = directory->paths().upper_disk();
  ASSERT_TRUE(write_whole_file(disk, std::string(kMib, 'x')));
  const auto settled = settle_upper_disk(directory->paths());
  ASSERT_FALSE(settled);
  EXPECT_NE(settled.error().text.find(disk.string()), std::string::npos) << settled.error().text;
  EXPECT_EQ(settled.error().text.find("/proc/"), std::string::npos) << settled.error().text;
}

TEST_F(UpperDisk, OfARunIsTheOneThatMayNotShrink) {
  auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory) << directory.error().describe();
  const VmPaths& paths = directory->paths();
  EXPECT_EQ(live_upper_disk_bytes(paths), 0U);
  VmConfig config;
  config.name = "a";
  config.ephemeral = true;
  config.quota_bytes = 128 * kMib;
  ASSERT_TRUE(prepare_upper_disk(*directory, "sha256:one", config));
  EXPECT_EQ(upper_disk_bytes(paths), 0U) << "nothing is kept";
  EXPECT_EQ(live_upper_disk_bytes(paths), 128 * kMib);
  config.ephemeral = false;
  config.quota_bytes = 256 * kMib;
  ASSERT_TRUE(prepare_upper_disk(*directory, "sha256:one", config));
  EXPECT_EQ(live_upper_disk_bytes(paths), 256 * kMib);
}

TEST_F(UpperDisk, BelongsToOneImage) {
  auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory) << directory.error().describe();
  VmConfig config;
  config.name = "a";
  config.quota_bytes = 64 * kMib;
  ASSERT_TRUE(prepare_upper_disk(*directory, "sha256:one", config));
  EXPECT_EQ(config.upper_disk, directory->paths().upper_disk());
  ASSERT_TRUE(prepare_upper_disk(*directory, "sha256:one", config));
  const auto other = prepare_upper_disk(*directory, "sha256:two", config);
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().text.find("another image"), std::string::npos) << other.error().text;
  // A run that keeps nothing has one of its own, which ends with it.
  config.ephemeral = true;
  ASSERT_TRUE(prepare_upper_disk(*directory, "sha256:two", config));
  EXPECT_EQ(config.upper_disk, directory->paths().ephemeral_upper_disk());
  ASSERT_TRUE(directory->throw_away_ephemeral());
  EXPECT_FALSE(std::filesystem::exists(config.upper_disk));
  // A reset forgets image and disk.
  ASSERT_TRUE(directory->throw_away_upper());
  config.ephemeral = false;
  EXPECT_FALSE(std::filesystem::exists(directory->paths().upper_disk()));
  EXPECT_TRUE(prepare_upper_disk(*directory, "sha256:two", config));
  directory->keep();
}

TEST_F(UpperDisk, AVmKeepsItsKind) {
  const auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory) << directory.error().describe();
  const VmPaths& paths = directory->paths();
  // One that has written nothing may be of any kind, and without a word is of the last run's.
  EXPECT_EQ(*choose_upper(paths, record(UpperKind::kHost), {}, false), UpperKind::kHost);
  EXPECT_EQ(*choose_upper(paths, record(UpperKind::kRam), {}, false), UpperKind::kRam);
  EXPECT_EQ(*choose_upper(paths, record(UpperKind::kRam), UpperKind::kDisk, false), UpperKind::kDisk);

  std::ofstream(paths.upper() / "written") << "by vfsd";
  EXPECT_EQ(*choose_upper(paths, record(UpperKind::kHost), {}, false), UpperKind::kHost);
  EXPECT_EQ(*choose_upper(paths, record(UpperKind::kRam), {}, false), UpperKind::kHost)
      << "the last run kept nothing";
  for (const UpperKind other : {UpperKind::kDisk, UpperKind::kRam}) {
    const auto refused = choose_upper(paths, record(UpperKind::kHost), other, false);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("--upper host"), std::string::npos) << refused.error().text;
    EXPECT_NE(refused.error().text.find("layerboot reset a"), std::string::npos) << refused.error().text;
    EXPECT_EQ(*choose_upper(paths, record(UpperKind::kHost), other, true), other)
        << "what is there stays untouched";
  }
  ASSERT_TRUE(directory->throw_away_upper());
  std::ofstream(paths.upper_disk()) << "a disk";
  EXPECT_EQ(*choose_upper(paths, record(UpperKind::kDisk), {}, false), UpperKind::kDisk);
  EXPECT_FALSE(choose_upper(paths, record(UpperKind::kDisk), UpperKind::kHost, false));
}

TEST_F(UpperDisk, OneNameHasOneKindOfRoot) {
  const auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory) << directory.error().describe();
  const VmPaths& paths = directory->paths();
  for (const bool disk_root : {false, true}) EXPECT_TRUE(check_root_kind(paths, "a", disk_root)) << "new";
  std::ofstream(paths.root_disk(DiskFormat::kQcow2)) << "a disk";
  EXPECT_TRUE(check_root_kind(paths, "a", true));
  const auto on_virtiofs = check_root_kind(paths, "a", false);
  ASSERT_FALSE(on_virtiofs);
  EXPECT_NE(on_virtiofs.error().text.find("--disk-image"), std::string::npos);
  std::ofstream(paths.upper() / "written") << "by vfsd";
  for (const bool disk_root : {false, true})
    EXPECT_TRUE(check_root_kind(paths, "a", disk_root)) << "has both";
  std::filesystem::remove(paths.root_disk(DiskFormat::kQcow2));
  EXPECT_TRUE(check_root_kind(paths, "a", false));
  EXPECT_FALSE(check_root_kind(paths, "a", true));
}

}  // namespace
}  // namespace layerboot::launcher
