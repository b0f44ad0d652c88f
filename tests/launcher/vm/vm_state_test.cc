#include <gtest/gtest.h>
#include <sys/stat.h>

#include "launcher/host/disk_usage.h"
#include "launcher/supervise/passt_args.h"
#include "launcher/supervise/timeline.h"
#include "launcher/vm/last_run.h"
#include "launcher/vm/vm_layer.h"
#include "launcher/vm/vm_list.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

StateDirs dirs_in(const ScratchDir& scratch) {
  return {
      .data = scratch.path() / "data", .cache = scratch.path() / "cache", .runtime = scratch.path() / "run"};
}

TEST(LastRunFile, ComesBackAsItWas) {
  const ScratchDir scratch;
  const auto path = scratch.path() / "last-run.json";
  ASSERT_TRUE(load_last_run(path));
  EXPECT_FALSE(load_last_run(path)->has_value());
  LastRun run{.started = 5, .ended = std::nullopt, .exit_status = 0, .error = {}};
  ASSERT_TRUE(save_last_run(path, run));
  EXPECT_EQ(**load_last_run(path), run);
  run.ended = 9;
  run.exit_status = 1;
  run.error = "it \"broke\"\n\xff";
  ASSERT_TRUE(save_last_run(path, run));
  EXPECT_EQ((*load_last_run(path))->ended, 9);
  std::ofstream(path) << "{\"started\":\"x\"}";
  EXPECT_FALSE(load_last_run(path));
}

TEST(DiskUsageTest, CountsHardLinksOnceAndHolesNot) {
  const ScratchDir scratch;
  const auto top = scratch.path() / "top";
  EXPECT_EQ(disk_usage(top)->inodes, 0U) << "a directory that is not there";
  std::filesystem::create_directories(top / "sub");
  std::ofstream(top / "sub" / "file") << std::string(100'000, 'x');
  std::filesystem::create_hard_link(top / "sub" / "file", top / "link");
  std::ofstream(top / "sparse").close();
  std::filesystem::resize_file(top / "sparse", 1U << 30U);
  std::filesystem::create_symlink("/", top / "away");
  const auto usage = disk_usage(top);
  ASSERT_TRUE(usage);
  EXPECT_EQ(usage->inodes, 4U);
  EXPECT_GE(usage->size_bytes, 100'000U);
  EXPECT_LT(usage->size_bytes, 1'000'000U);
  EXPECT_TRUE(usage->complete);
}

TEST(TimelineTest, KeepsTheFirstOfANameAndABound) {
  Timeline timeline;
  timeline.mark("one");
  timeline.mark("two");
  timeline.mark("one");
  ASSERT_EQ(timeline.marks().size(), 2U);
  EXPECT_LE(timeline.marks()[0].at, timeline.marks()[1].at);
  EXPECT_NE(timeline.table().find("two"), std::string::npos);
  for (int i = 0; i < 1000; ++i) timeline.mark(std::to_string(i));
  EXPECT_EQ(timeline.marks().size(), Timeline::kMaxMarks);
}

TEST(TimelineTest, WhatIsToldLateTakesItsPlace) {
  using std::chrono::seconds;
  Timeline timeline;
  const auto now = std::chrono::steady_clock::now();
  timeline.mark("third", now + seconds(3));
  timeline.mark("first", now + seconds(1));
  timeline.mark("second", now + seconds(2));
  timeline.mark("also third", now + seconds(3));
  timeline.mark("before all", now - seconds(100));
  std::string names;
  for (const auto& mark : timeline.marks()) names += mark.name + '\n';
  EXPECT_EQ(names, "before all\nfirst\nsecond\nthird\nalso third\n");
  EXPECT_EQ(timeline.marks()[0].at, std::chrono::microseconds(0));
}

TEST(MountUnitName, IsAsSystemdEscapesPaths) {
  EXPECT_EQ(mount_unit_name("/data"), "data.mount");
  EXPECT_EQ(mount_unit_name("/srv/my-vol"), "srv-my\\x2dvol.mount");
  EXPECT_EQ(mount_unit_name("/.x/a_b.c"), "\\x2ex-a_b.c.mount");
  EXPECT_EQ(mount_unit_name("/a+b@c"), "a\\x2bb\\x40c.mount");
}

TEST(PasstArgs, PublishesWhatIsAskedForAndNothingElse) {
  RunSettings settings;
  settings.docker = true;
  settings.published = {{.address = "127.0.0.1", .host = 8080, .guest = 80, .udp = false}};
  const auto args = passt_args(settings, "passt");
  const auto value = [&](const std::string& option) {
    const auto at = std::find(args.begin(), args.end(), option);
    return at == args.end() ? "" : *(at + 1);
  };
  EXPECT_EQ(value("--tcp-ports"), "127.0.0.1/8080:80");
  EXPECT_EQ(value("--udp-ports"), "none");
  EXPECT_EQ(value("--fd"), "3");
}

TEST(VmList, ListsWhatIsThereAndDamageDoesNotHideTheRest) {
  const ScratchDir scratch;
  const StateDirs dirs = dirs_in(scratch);
  EXPECT_TRUE(list_vms(dirs)->empty());
  for (const char* name : {"b", "a"}) {
    auto directory = VmDirectory::open(dirs, name);
    ASSERT_TRUE(directory);
    ASSERT_TRUE(directory->save_record(*directory->load_record()));
    directory->keep();
  }
  std::filesystem::create_directories(dirs.vms() / "c");
  std::ofstream(dirs.vms() / "c" / "config.json") << "{";
  std::filesystem::create_directories(dirs.vms() / ".hidden");
  const auto vms = list_vms(dirs);
  ASSERT_TRUE(vms);
  ASSERT_EQ(vms->size(), 3U);
  EXPECT_EQ((*vms)[0].name, "a");
  EXPECT_EQ((*vms)[0].state(), "stopped");
  EXPECT_TRUE((*vms)[1].record);
  EXPECT_FALSE((*vms)[2].record);
  const auto missing = look_at_vm(dirs, "nobody");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ENOENT);
  EXPECT_FALSE(look_at_vm(dirs, "../a"));
}

TEST(VmDirectoryEnd, ResetTakesWhatWasWrittenAndRemoveTakesAll) {
  const ScratchDir scratch;
  const StateDirs dirs = dirs_in(scratch);
  EXPECT_FALSE(VmDirectory::open_existing(dirs, "a"));
  EXPECT_FALSE(std::filesystem::exists(dirs.vms() / "a")) << "looking must not make it";
  auto made = VmDirectory::open(dirs, "a");
  ASSERT_TRUE(made);
  const VmPaths paths = made->paths();
  ASSERT_TRUE(made->save_record(*made->load_record()));
  std::filesystem::create_directories(paths.upper() / "upper" / "closed" / "inner");
  std::filesystem::create_directories(paths.volume_uppers() / "data.mount");
  // As a guest of an ordinary user may leave it.
  ASSERT_EQ(::chmod((paths.upper() / "upper" / "closed").c_str(), 0), 0);
  ASSERT_TRUE(made->throw_away_upper());
  EXPECT_FALSE(std::filesystem::exists(paths.upper()));
  EXPECT_FALSE(std::filesystem::exists(paths.volume_uppers()));
  EXPECT_TRUE(std::filesystem::exists(paths.config()));
  ASSERT_TRUE(made->remove());
  EXPECT_FALSE(std::filesystem::exists(paths.state));
}

TEST(AbsoluteReference, MeansTheSameFromAnywhere) {
  const std::string here = std::filesystem::current_path().string();
  EXPECT_EQ(absolute_reference("oci:images/a:1"), "oci:" + here + "/images/a:1");
  EXPECT_EQ(absolute_reference("oci:/images/a"), "oci:/images/a");
  EXPECT_EQ(absolute_reference("debian:12"), "debian:12");
}

}  // namespace
}  // namespace layerboot::launcher
