#include "launcher/vm/named_volumes.h"

#include <gtest/gtest.h>

#include <fstream>

#include "launcher/vm/vm_directory.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

class NamedVolumes : public testing::Test {
 protected:
  StateDirs dirs() const {
    StateDirs dirs;
    dirs.data = dir_ / "data";
    dirs.cache = dir_ / "cache";
    dirs.runtime = dir_ / "run";
    return dirs;
  }
  void make_vm(const std::string& name, const std::string& volume) const {
    VmRecord record;
    record.name = name;
    record.machine_id = std::string(32, 'a');
    record.run.volumes.push_back({.host = "/x", .guest = "/data", .name = volume});
    const VmPaths paths(dirs(), name);
    std::filesystem::create_directories(paths.state);
    ASSERT_TRUE(save_vm_record(paths, record));
  }

  test::TempDir dir_;
};

TEST_F(NamedVolumes, AreMadeListedAndRemoved) {
  ASSERT_TRUE(list_named_volumes(dirs()));
  RunSettings settings;
  settings.volumes = {{.host = "", .guest = "/data", .name = "data"}, {.host = "/srv", .guest = "/srv"}};
  ASSERT_TRUE(settle_named_volumes(dirs(), settings));
  EXPECT_EQ(settings.volumes[0].host, (dirs().data / "volumes/data").string());
  EXPECT_EQ(settings.volumes[1].host, "/srv");
  std::ofstream(settings.volumes[0].host + "/kept") << "x";
  ASSERT_TRUE(settle_named_volumes(dirs(), settings)) << "it is there by now";
  EXPECT_EQ(create_named_volume(dirs(), "data").error().code, EEXIST);
  ASSERT_EQ(list_named_volumes(dirs())->size(), 1U);
  ASSERT_TRUE(remove_named_volume(dirs(), "data"));
  EXPECT_TRUE(list_named_volumes(dirs())->empty());
  EXPECT_EQ(remove_named_volume(dirs(), "data").error().code, ENOENT);
  EXPECT_EQ(remove_named_volume(dirs(), "../vms").error().code, EINVAL);
}

TEST_F(NamedVolumes, OfAVmAreNotRemoved) {
  ASSERT_TRUE(create_named_volume(dirs(), "data"));
  make_vm("web", "data");
  const auto refused = remove_named_volume(dirs(), "data");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EBUSY);
  EXPECT_NE(refused.error().text.find("web"), std::string::npos);
  EXPECT_EQ(list_named_volumes(dirs())->front().vms, std::vector<std::string>{"web"});
  // What can't be read might have any.
  std::ofstream(VmPaths(dirs(), "web").config()) << "damaged";
  EXPECT_FALSE(remove_named_volume(dirs(), "data"));
}

TEST_F(NamedVolumes, OfARunAreNotRemovedMeanwhile) {
  RunSettings settings;
  settings.volumes = {{.host = "", .guest = "/data", .name = "data"}, {.host = "/srv", .guest = "/srv"}};
  ASSERT_TRUE(settle_named_volumes(dirs(), settings));
  {
    const auto held = hold_named_volumes(settings);
    ASSERT_TRUE(held) << held.error().describe();
    ASSERT_TRUE(hold_named_volumes(settings)) << "a volume may be two runs'";
    const auto refused = remove_named_volume(dirs(), "data");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EBUSY);
    EXPECT_TRUE(std::filesystem::exists(settings.volumes[0].host));
  }
  EXPECT_TRUE(remove_named_volume(dirs(), "data"));
  EXPECT_EQ(hold_named_volumes(settings).error().code, ENOENT);
}

}  // namespace
}  // namespace layerboot::launcher
