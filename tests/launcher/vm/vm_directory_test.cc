#include "launcher/vm/vm_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <optional>
#include <thread>

#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

class VmDirectoryTest : public testing::Test {
 protected:
  StateDirs dirs() const {
    return {.data = scratch_.path() / "data",
            .cache = scratch_.path() / "cache",
            .runtime = scratch_.path() / "run"};
  }
  ScratchDir scratch_;
};

mode_t mode_of(const std::filesystem::path& path) {
  struct stat st{};
  EXPECT_EQ(::stat(path.c_str(), &st), 0) << path;
  return st.st_mode & 07777;
}

TEST_F(VmDirectoryTest, MakesPrivateState) {
  auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory) << directory.error().describe();
  const auto record = directory->load_record();
  ASSERT_TRUE(record);
  ASSERT_TRUE(directory->save_record(*record));
  EXPECT_EQ(mode_of(dirs().vms() / "a"), 0700U);
  EXPECT_EQ(mode_of(directory->paths().upper()), 0700U);
  EXPECT_EQ(mode_of(directory->paths().config()), 0600U);
  EXPECT_EQ(mode_of(dirs().vms() / "a" / "lock"), 0600U);
  EXPECT_EQ(mode_of(dirs().runtime / "a"), 0700U);
}

TEST_F(VmDirectoryTest, IsOneVmAtATime) {
  std::optional<Result<VmDirectory>> first(VmDirectory::open(dirs(), "a"));
  ASSERT_TRUE(*first);
  const auto second = VmDirectory::open(dirs(), "a");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EBUSY);
  EXPECT_NE(second.error().text.find("--name"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(dirs().runtime / "a"))
      << "the refused one must not clear up the first's";
  EXPECT_TRUE(VmDirectory::open(dirs(), "b"));
  first.reset();
  EXPECT_TRUE(VmDirectory::open(dirs(), "a"));
}

TEST_F(VmDirectoryTest, ClearsSocketsAtBothEnds) {
  std::filesystem::create_directories(dirs().runtime / "a");
  for (const char* name : {"control.sock", "docker.sock"})
    std::ofstream(dirs().runtime / "a" / name) << "stale";
  {
    const auto directory = VmDirectory::open(dirs(), "a");
    ASSERT_TRUE(directory);
    EXPECT_FALSE(std::filesystem::exists(directory->paths().control_socket()));
    std::ofstream(directory->paths().control_socket()) << "in use";
  }
  EXPECT_FALSE(std::filesystem::exists(dirs().runtime / "a"));
}

/// commit_test.cc kills a whole commit at each of its steps.
TEST_F(VmDirectoryTest, WhoOpensItNextThrowsAwayWhatIsSpent) {
  const auto open_with = [&](const std::string& spent, bool is_disk) {
    std::filesystem::remove_all(dirs().vms() / "a");
    auto directory = VmDirectory::open(dirs(), "a");
    EXPECT_TRUE(directory);
    VmRecord record = *directory->load_record();
    record.spent_upper = spent;
    EXPECT_TRUE(directory->save_record(record));
    std::ofstream(is_disk ? directory->paths().upper_disk_image() : directory->paths().upper() / "image")
        << "sha256:old\n";
    if (is_disk) std::ofstream(directory->paths().upper_disk()) << "a disk";
    std::filesystem::create_directories(directory->paths().old_upper() / "rest");
    directory->keep();
  };
  const VmPaths paths(dirs(), "a");
  for (const bool is_disk : {false, true}) {
    open_with("sha256:old", is_disk);
    ASSERT_TRUE(VmDirectory::open_existing(dirs(), "a"));
    EXPECT_EQ(load_vm_record(paths)->spent_upper, "");
    EXPECT_FALSE(std::filesystem::exists(paths.upper() / "image"));
    EXPECT_FALSE(std::filesystem::exists(paths.upper_disk()));
    EXPECT_FALSE(std::filesystem::exists(paths.upper_disk_image()));
    EXPECT_FALSE(std::filesystem::exists(paths.old_upper()));
    EXPECT_FALSE(upper_identity(paths));

    open_with("sha256:another", is_disk);
    ASSERT_TRUE(VmDirectory::open_existing(dirs(), "a"));
    EXPECT_EQ(load_vm_record(paths)->spent_upper, "");
    EXPECT_EQ(upper_identity(paths).value_or(""), "sha256:old") << "what is of another image is not spent";
  }
}

TEST_F(VmDirectoryTest, TheRecordOutlivesTheRun) {
  VmRecord saved;
  {
    auto directory = VmDirectory::open(dirs(), "a");
    ASSERT_TRUE(directory);
    saved = *directory->load_record();
    saved.quota_bytes = 77;
    ASSERT_TRUE(directory->save_record(saved));
    directory->keep();
  }
  const auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory);
  EXPECT_EQ(*directory->load_record(), saved);
}

TEST_F(VmDirectoryTest, WhatCameToNothingLeavesNothing) {
  ASSERT_TRUE(VmDirectory::open(dirs(), "a"));
  EXPECT_FALSE(std::filesystem::exists(dirs().vms() / "a"));
  std::filesystem::create_directories(dirs().vms() / "old" / "disk");
  ASSERT_TRUE(VmDirectory::open(dirs(), "old"));
  EXPECT_TRUE(std::filesystem::exists(dirs().vms() / "old" / "disk")) << "it was there before";
}

TEST_F(VmDirectoryTest, ANewOneTakesNoOthersPlace) {
  std::filesystem::create_directories(dirs().vms() / "old" / "disk");
  const auto refused = VmDirectory::create(dirs(), "old");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EEXIST);
  EXPECT_TRUE(std::filesystem::exists(dirs().vms() / "old" / "disk"));
  EXPECT_TRUE(VmDirectory::create(dirs(), "new"));
}

TEST_F(VmDirectoryTest, ADamagedRecordIsNamed) {
  const auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory);
  std::ofstream(directory->paths().config()) << "{";
  const auto record = directory->load_record();
  ASSERT_FALSE(record);
  EXPECT_NE(record.error().text.find("config.json"), std::string::npos);
}

TEST_F(VmDirectoryTest, OneThatNeverCameUpSaysWhatToDo) {
  const auto directory = VmDirectory::open(dirs(), "a");
  ASSERT_TRUE(directory);
  const auto record = load_vm_record(directory->paths());
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code, ENOENT);
  EXPECT_NE(record.error().describe().find("'layerboot rm a'"), std::string::npos)
      << record.error().describe();
  EXPECT_TRUE(directory->load_record()) << "a new one's";
}

TEST_F(VmDirectoryTest, ALongSocketPathIsRefusedBeforeAnythingIsMade) {
  StateDirs deep = dirs();
  deep.runtime = scratch_.path() / std::string(90, 'r');
  const auto directory = VmDirectory::open(deep, "a");
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code, ENAMETOOLONG);
  EXPECT_NE(directory.error().text.find("XDG_RUNTIME_DIR"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(dirs().data));
}

TEST_F(VmDirectoryTest, WhoWaitsForALockGetsNoOtherVmByIt) {
  std::optional<VmDirectory> first = *VmDirectory::open(dirs(), "old");
  first->keep();
  ASSERT_TRUE(first->save_record(*first->load_record()));
  std::thread renaming([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(15));
    EXPECT_TRUE(first->rename(dirs(), "new"));
    first.reset();
  });
  // Opens old's lock, and has it once that is new's.
  const auto second = VmDirectory::open_existing(dirs(), "old");
  renaming.join();
  EXPECT_FALSE(second);
  EXPECT_TRUE(VmDirectory::open_existing(dirs(), "new"));
}

TEST_F(VmDirectoryTest, TellsWhetherItIsHeld) {
  const VmPaths paths(dirs(), "a");
  EXPECT_FALSE(is_held(paths));
  {
    auto directory = VmDirectory::open(dirs(), "a");
    ASSERT_TRUE(directory);
    directory->keep();
    EXPECT_TRUE(is_held(paths));
  }
  EXPECT_FALSE(is_held(paths));
}

TEST_F(VmDirectoryTest, SocketsLieInNobodyElsesDirectory) {
  const auto refused = [&] {
    const auto directory = VmDirectory::open(dirs(), "a");
    return !directory && directory.error().code == EPERM &&
           directory.error().text.find("XDG_RUNTIME_DIR") != std::string::npos;
  };
  namespace fs = std::filesystem;
  const fs::path others = scratch_.path() / "others";
  fs::create_directories(others / "a");
  std::ofstream(others / "a/control.sock") << "another VM's";
  for (const fs::path& place : {dirs().runtime, dirs().runtime / "a"}) {
    fs::create_directories(place.parent_path());
    fs::create_directory_symlink(place == dirs().runtime ? others : others / "a", place);
    EXPECT_TRUE(refused()) << "a symlink in place of " << place;
    fs::remove(place);
    fs::create_directory(place);
    fs::permissions(place, fs::perms::all);
    EXPECT_TRUE(refused()) << "others can write to " << place;
    if (::geteuid() == 0) {
      fs::permissions(place, fs::perms::owner_all);
      ASSERT_EQ(::chown(place.c_str(), 12345, 12345), 0);
      EXPECT_TRUE(refused()) << "another user's: " << place;
    }
    fs::remove(place);
    fs::remove(dirs().runtime);
  }
  EXPECT_TRUE(fs::exists(others / "a/control.sock"));
  EXPECT_FALSE(fs::exists(dirs().vms() / "a")) << "nothing is left of what was refused";
  EXPECT_TRUE(VmDirectory::open(dirs(), "a"));
}

}  // namespace
}  // namespace layerboot::launcher
