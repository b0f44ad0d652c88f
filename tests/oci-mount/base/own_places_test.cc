#include "oci-mount/base/own_places.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "tests/support/temp_dir.h"

namespace layerboot {
namespace {

namespace fs = std::filesystem;

class OwnPlacesTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* variable : {"XDG_DATA_HOME", "XDG_CACHE_HOME"}) ::unsetenv(variable);
    for (const char* place : {"data", "data/store", "data/vms", "data/vms/web", "data/disks", "data/disks/a",
                              "data/kernels", "data/kernels/debian", "data/kernels/image-x", "cache",
                              "cache/index", "cache/unpacked", "data/images"})
      make(place, 0755);
  }
  void make(const char* place, mode_t mode) const {
    fs::create_directories(dir_ / place);
    ASSERT_EQ(::chmod((dir_ / place).c_str(), mode), 0);
  }
  mode_t mode(const char* place) const {
    struct stat st{};
    EXPECT_EQ(::lstat((dir_ / place).c_str(), &st), 0) << place;
    return st.st_mode & 07777;
  }
  std::string close() const {
    testing::internal::CaptureStderr();
    close_own_places(dirs_);
    return testing::internal::GetCapturedStderr();
  }

  test::TempDir dir_;
  StateDirs dirs_{.data = dir_ / "data", .cache = dir_ / "cache", .runtime = dir_ / "run"};
};

TEST_F(OwnPlacesTest, ClosesWhatAnEarlierVersionLeftOpenAndSaysSoOnce) {
  EXPECT_EQ(places_open_to_others(dirs_).size(), 6U);
  const std::string said = close();
  EXPECT_EQ(std::ranges::count(said, '\n'), 1) << said;
  for (const char* place :
       {"data/store", "data/vms", "data/disks/a", "data/kernels/image-x", "cache/index", "cache/unpacked"}) {
    EXPECT_EQ(mode(place), 0700U) << place;
    EXPECT_NE(said.find((dir_ / place).string()), std::string::npos) << said;
  }
  for (const char* place : {"data", "data/images", "data/kernels", "data/kernels/debian", "cache"})
    EXPECT_EQ(mode(place), 0755U) << place;
  EXPECT_TRUE(places_open_to_others(dirs_).empty());
  EXPECT_EQ(close(), "");
}

TEST_F(OwnPlacesTest, LeavesAloneWhatSomebodyHasNamed) {
  ::setenv("XDG_DATA_HOME", dir_.path().c_str(), 1);
  EXPECT_NE(close().find("cache/index"), std::string::npos);
  EXPECT_EQ(mode("data/store"), 0755U);
  EXPECT_EQ(mode("cache/index"), 0700U);
  EXPECT_EQ(places_open_to_others(dirs_).size(), 4U) << "which doctor tells all the same";
}

TEST_F(OwnPlacesTest, LeavesAloneWhatIsSharedWithAGroupOrLiesElsewhere) {
  make("data/store", 0750);
  make("cache/index", 02775);
  fs::remove_all(dir_ / "data/vms");
  make("elsewhere", 0755);
  fs::create_symlink("../elsewhere", dir_ / "data/vms");
  close();
  EXPECT_EQ(mode("data/store"), 0750U);
  EXPECT_EQ(mode("cache/index"), 02770U) << "closed to those who are in no group";
  EXPECT_EQ(mode("elsewhere"), 0755U);
}

TEST_F(OwnPlacesTest, SaysNothingWhereNobodyGetsInAnyway) {
  make("data", 0700);
  make("cache", 0750);
  EXPECT_EQ(close(), "");
  EXPECT_EQ(mode("data/store"), 0755U);
}

}  // namespace
}  // namespace layerboot
