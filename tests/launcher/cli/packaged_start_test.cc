#include "launcher/cli/packaged_start.h"

#include <gtest/gtest.h>

#include <fstream>

#include "launcher/cli/package_words.h"
#include "launcher/cli/packaged_command.h"
#include "launcher/export/kubernetes_set.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

Result<void> any_port(const PublishedPort&) { return {}; }

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
  take_ports({"80/tcp", "443"}, settings, any_port);
  ASSERT_EQ(settings.published.size(), 3U);
  EXPECT_EQ(settings.published[0], (PublishedPort{.address = "0.0.0.0", .host = 8080, .guest = 80}));
  EXPECT_EQ(settings.published[1],
            (PublishedPort{.address = "127.0.0.2", .host = 53, .guest = 53, .udp = true}));
  EXPECT_EQ(settings.published[2], (PublishedPort{.address = "0.0.0.0", .host = 443, .guest = 443}));
}

TEST(PackagedStartTest, StartsWithoutAnExposedPortThatCannotBeHad) {
  RunSettings settings;
  settings.published = *parse_published("443:443");
  testing::internal::CaptureStderr();
  take_ports({"80/tcp", "443/tcp", "8080/tcp"}, settings, [](const PublishedPort& port) -> Result<void> {
    if (port.host < 1024) return fail(EACCES, "port ", port.host, " is for root alone");
    return {};
  });
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_EQ(settings.published.size(), 2U);
  EXPECT_EQ(settings.published[0].host, 443) << "it was asked for: run says that it can't be had";
  EXPECT_EQ(settings.published[1].host, 8080);
  EXPECT_NE(said.find("exposes port 80, which is not forwarded: port 80 is for root alone"),
            std::string::npos)
      << said;
}

TEST(PackagedStartTest, WhatTheContainerIsGivenComesAfterWhatIsPackaged) {
  const auto run = packaged_run(joined_options({"--memory", "2G", "--accel", "tcg", "-p", "8080:80"},
                                               {"--cpus", "2", "--memory=4G", "--require-kvm"}),
                                "i", {});
  ASSERT_TRUE(run) << run.error().describe();
  EXPECT_EQ(run->memory_bytes, std::uint64_t{4} << 30);
  EXPECT_TRUE(run->require_kvm);
  EXPECT_EQ(run->published.size(), 1U);
  EXPECT_EQ(joined_options({"--require-kvm", "--accel=kvm"}, {"--accel=tcg"}),
            (std::vector<std::string>{"--accel=kvm", "--accel=tcg"}));
}

TEST(PackagedStartTest, StartsWithoutThePortsThatCannotBeForwarded) {
  RunSettings settings;
  settings.published = *parse_published("9000:80");
  std::vector<std::string> exposed = {"5000/sctp", "none", "9000"};
  for (int port = 1000; port < 1100; ++port) exposed.push_back(std::to_string(port) + "/tcp");
  testing::internal::CaptureStderr();
  take_ports(exposed, settings, any_port);
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_EQ(settings.published.size(), kMaxPublished);
  EXPECT_EQ(settings.published[0].guest, 80) << "what was asked for comes first";
  EXPECT_EQ(settings.published[1].guest, 1000);
  for (const char* part :
       {"5000/sctp", "none", "9000/tcp, which is not forwarded: -p leads that port to 80/tcp",
        "37 of the ports that the image exposes"})
    EXPECT_NE(said.find(part), std::string::npos) << part << "\n" << said;
  settings.publish_all = true;
  take_ports({}, settings, any_port);
  EXPECT_FALSE(settings.publish_all) << "it is done";
}

TEST(PackagedStartTest, GivesAPortOnceWhateverIsAskedTwice) {
  RunSettings settings;
  for (const char* text : {"8080:80", "127.0.0.2:53:53/udp", "8080:81/udp", "0.0.0.0:8080:8080", "53:54/udp"})
    settings.published.push_back(parse_published(text)->front());
  testing::internal::CaptureStderr();
  take_ports({"8080/tcp", "80/tcp"}, settings, any_port);
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_EQ(settings.published.size(), 4U);
  EXPECT_EQ(settings.published[0].guest, 81);
  EXPECT_EQ(settings.published[1], (PublishedPort{.address = "0.0.0.0", .host = 8080, .guest = 8080}))
      << "the later one";
  EXPECT_EQ(settings.published[2],
            (PublishedPort{.address = "0.0.0.0", .host = 53, .guest = 54, .udp = true}));
  EXPECT_EQ(settings.published[3].guest, 80);
  EXPECT_NE(said.find("port 8080 leads to the VM's 8080, and no more to its 80"), std::string::npos) << said;
}

// The later of two counts, as with every other option that is packaged and given once more.
TEST(PackagedStartTest, TakesWordsThatForwardAPortTwice) {
  const auto run = packaged_run({"-p", "8080:80", "-p", "8080:8080"}, "i", {});
  ASSERT_TRUE(run) << run.error().describe();
  EXPECT_EQ(run->published.size(), 2U);
  EXPECT_FALSE(check_ports_differ(run->published)) << "which `run` itself refuses";
  EXPECT_NE(check_ports_differ(run->published).error().text.find("127.0.0.1:8080"), std::string::npos);
}

TEST(PackagedStartTest, ASharedDirectoryHasTheFilesMountedInIt) {
  const test::TempDir directory;
  const std::string top = (directory / "app").string();
  std::filesystem::create_directory(top);
  std::ofstream(directory / "app/c.yaml") << "c";
  RunSettings settings;
  ASSERT_TRUE(take_mounts({{.path = top, .type = "ext4", .read_only = false},
                           {.path = top + "/c.yaml", .type = "ext4", .read_only = true}},
                          settings));
  ASSERT_EQ(settings.volumes.size(), 1U);
  EXPECT_EQ(settings.volumes[0].host, top);
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
  const std::vector<std::vector<std::string>> refused = {{"--detach"},
                                                         {"--rm"},
                                                         {"--name", "x"},
                                                         {"--docker"},
                                                         {"--disk-image"},
                                                         {"--net", "passt"},
                                                         {"debian:12"},
                                                         {"--no-such"},
                                                         {"--kernel", "host"},
                                                         {"--qemu", "/q"},
                                                         {"--vfsd", "/v"},
                                                         {"--guest-init", "/g"},
                                                         {"--oci-mount", "/o"},
                                                         {"--pull=always"},
                                                         {"--binfmt=arm64"},
                                                         {"--platform=riscv64"},
                                                         {"--socket-path=/s"},
                                                         {"--hostname"},
                                                         {"--net", "user", "--net", "user"},
                                                         {"--restart=always", "x"}};
  for (const auto& words : refused) {
    const auto run = packaged_run(words, "oci:/image:latest", {});
    ASSERT_FALSE(run.has_value()) << words.front();
    EXPECT_EQ(run.error().code, EINVAL) << words.front();
  }
}

Result<std::vector<std::string>> stored(const std::vector<std::string>& words) {
  LB_ASSIGN(const Options run, packaged_run(words, "oci:/image:latest", {}));
  return words_to_store(words, run);
}

TEST(WordsToStoreTest, WhatIsInFilesGoesAlongAsText) {
  const test::TempDir dir;
  const std::string key = (dir.path() / "key.pub").string();
  const std::string variables = (dir.path() / "env").string();
  std::ofstream(key) << "ssh-ed25519 AAAA me@here\nmore\n";
  std::ofstream(variables) << "A=from the file\nB=2\n";
  const auto words =
      stored({"--memory", "2G", "--ssh-key", key, "--env", "A=given", "--env-file=" + variables, "-q"});
  ASSERT_TRUE(words.has_value()) << words.error().describe();
  EXPECT_EQ(*words, (std::vector<std::string>{"--ssh-key=ssh-ed25519 AAAA me@here", "--env=A=from the file",
                                              "--env=B=2", "--memory", "2G", "--env", "A=given", "-q"}));
  // As a container reads them, which has no such files.
  std::filesystem::remove(key);
  std::filesystem::remove(variables);
  const auto run = packaged_run(*words, "oci:/image:latest", {});
  ASSERT_TRUE(run.has_value()) << run.error().describe();
  EXPECT_EQ(run->ssh_keys, std::vector<std::string>{"ssh-ed25519 AAAA me@here"});
  EXPECT_EQ(run->environment, (std::vector<std::string>{"A=from the file", "B=2", "A=given"}));
}

TEST(WordsToStoreTest, APasswordIsNotForEverybodyWhoHasTheImage) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"--password", "s3cret"}, {"--password=s3cret"}}) {
    const auto refused = stored(words);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().text.find("LAYERBOOT_OPTIONS"), std::string::npos) << refused.error().text;
    EXPECT_EQ(refused.error().text.find("s3cret"), std::string::npos);
    EXPECT_TRUE(packaged_run(words, "oci:/image:latest", {}).has_value()) << "as LAYERBOOT_OPTIONS";
  }
}

TEST(WordsToStoreTest, WhatCannotBeKeptIsRefused) {
  EXPECT_FALSE(stored({"--env", "A=1\n2"}).has_value());
  EXPECT_FALSE(stored({"--append", "--env-file", "--quiet"}).has_value());
}

}  // namespace
}  // namespace layerboot::launcher
