#include "launcher/cli/packaged_start.h"

#include <gtest/gtest.h>

#include <fstream>

#include "launcher/cli/packaged_command.h"
#include "launcher/export/kubernetes_set.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

TEST(PackagedStartTest, SplitsOptionsAtWhiteSpace) {
  EXPECT_EQ(words_of("  --memory 2G\n\t-p 80:80 "),
            (std::vector<std::string>{"--memory", "2G", "-p", "80:80"}));
  EXPECT_TRUE(words_of(" ").empty());
}

TEST(PackagedStartTest, EachStateHasSocketsOfItsOwn) {
  const test::TempDir dir;
  std::filesystem::create_directory(dir / "a");
  std::filesystem::create_directory(dir / "b");
  const auto a = packaged_runtime("/dev/shm", dir / "a");
  const auto b = packaged_runtime("/dev/shm", dir / "b");
  ASSERT_TRUE(a && b);
  EXPECT_NE(*a, *b) << "two containers of a pod";
  EXPECT_EQ(a->parent_path(), "/dev/shm");
  std::filesystem::create_directory_symlink(dir / "a", dir / "same");
  EXPECT_EQ(packaged_runtime("/dev/shm", dir / "same").value_or(""), *a) << "one volume in two containers";
  EXPECT_FALSE(packaged_runtime("/dev/shm", dir / "none"));
}

TEST(PackagedStartTest, HandsOnWhatIsForTheGuest) {
  const auto chosen =
      guest_environment({"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=4f2c",
                         "HOME=/root", "TERM=xterm", "container=podman", "XDG_DATA_HOME=/var/lib",
                         "LAYERBOOT_OPTIONS=--cpus 2", "A=1=2", "EMPTY="});
  EXPECT_EQ(chosen, (std::vector<std::string>{"A=1=2", "EMPTY="}));
  EXPECT_EQ(guest_environment({"PATH=/opt/bin"}), (std::vector<std::string>{"PATH=/opt/bin"}));
}

TEST(PackagedStartTest, MakesVolumesOfWhatWasMounted) {
  const test::TempDir dir;
  const std::string data = (dir.path() / "data").string();
  const std::string scratch = (dir.path() / "scratch").string();
  const std::string file = (dir.path() / "file").string();
  std::filesystem::create_directory(data);
  std::filesystem::create_directory(scratch);
  std::ofstream(file) << "x";
  RunSettings settings;
  ASSERT_TRUE(take_mounts({{.path = "/", .type = "overlay", .read_only = false},
                           {.path = "/proc", .type = "proc", .read_only = false},
                           {.path = "/proc/kcore", .type = "tmpfs", .read_only = false},
                           {.path = "/dev/shm", .type = "tmpfs", .read_only = false},
                           {.path = "/etc/resolv.conf", .type = "ext4", .read_only = false},
                           {.path = "/var/lib/layerboot", .type = "ext4", .read_only = false},
                           {.path = "/tmp", .type = "tmpfs", .read_only = false},
                           {.path = data, .type = "ext4", .read_only = false},
                           {.path = data, .type = "ext4", .read_only = true},
                           {.path = file, .type = "ext4", .read_only = true},
                           {.path = scratch, .type = "tmpfs", .read_only = false}},
                          settings)
                  .has_value());
  ASSERT_EQ(settings.volumes.size(), 3U);
  EXPECT_EQ(settings.volumes[0], (Volume{.host = data, .guest = data}));
  EXPECT_EQ(settings.volumes[1], (Volume{.host = data, .guest = data, .kind = VolumeKind::kReadOnly}));
  EXPECT_EQ(settings.volumes[2], (Volume{.host = file, .guest = file, .kind = VolumeKind::kReadOnly}));
  ASSERT_EQ(settings.tmpfs.size(), 1U);
  EXPECT_EQ(settings.tmpfs[0].guest, scratch);
}

TEST(PackagedStartTest, RefusesMoreVolumesThanAVmTakes) {
  const test::TempDir dir;
  RunSettings settings;
  const std::vector<MountPoint> mounts(kMaxVolumes + 1,
                                       {.path = dir.path().string(), .type = "ext4", .read_only = true});
  const auto taken = take_mounts(mounts, settings);
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().code, E2BIG);
}

TEST(PackagedStartTest, OpensPortsToTheContainersNetwork) {
  RunSettings settings;
  settings.published = *parse_published("8080:80");
  settings.published.push_back(parse_published("127.0.0.2:53:53/udp")->front());
  ASSERT_TRUE(take_ports({"80/tcp", "443"}, settings).has_value());
  ASSERT_EQ(settings.published.size(), 3U);
  EXPECT_EQ(settings.published[0], (PublishedPort{.address = "0.0.0.0", .host = 8080, .guest = 80}));
  EXPECT_EQ(settings.published[1],
            (PublishedPort{.address = "127.0.0.2", .host = 53, .guest = 53, .udp = true}));
  EXPECT_EQ(settings.published[2], (PublishedPort{.address = "0.0.0.0", .host = 443, .guest = 443}));
}

TEST(PackagedStartTest, LeavesRoomBesideTheGuest) {
  const auto memory = memory_within(std::uint64_t{1} << 30, false);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(*memory, (std::uint64_t{1} << 30) - kVmOverheadBytes);
  const auto too_little = memory_within(std::uint64_t{1} << 30, true);
  ASSERT_FALSE(too_little.has_value());
  EXPECT_EQ(too_little.error().code, ENOMEM);
}

TEST(PackagedRunTest, TakesTheOptionsOfRun) {
  const auto run =
      packaged_run({"--memory", "2G", "-p", "80"}, "oci:/image:latest", {"sh", "-c", "--name x"});
  ASSERT_TRUE(run.has_value()) << run.error().describe();
  EXPECT_EQ(run->memory_bytes, std::uint64_t{2} << 30);
  EXPECT_EQ(run->image, "oci:/image:latest");
  EXPECT_EQ(run->guest_command, (std::vector<std::string>{"sh", "-c", "--name x"}));
}

TEST(PackagedRunTest, RefusesWhatHasNoMeaningInAContainer) {
  const std::vector<std::vector<std::string>> refused = {{"--detach"},  {"--rm"},         {"--name", "x"},
                                                         {"--docker"},  {"--disk-image"}, {"--net", "passt"},
                                                         {"debian:12"}, {"--no-such"}};
  for (const auto& words : refused) {
    const auto run = packaged_run(words, "oci:/image:latest", {});
    ASSERT_FALSE(run.has_value()) << words.front();
    EXPECT_EQ(run.error().code, EINVAL) << words.front();
  }
}

}  // namespace
}  // namespace layerboot::launcher
