#include "launcher/supervise/vfsd_args.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace layerboot::launcher {
namespace {

TEST(VfsdArgs, Golden) {
  VmConfig config;
  config.image = "oci:/images/debian:12";
  config.quota_bytes = std::uint64_t{4} << 30U;
  config.request_queues = 2;
  const VfsdPaths paths{.vfsd = "/bin/vfsd",
                        .socket = "/run/s.sock",
                        .socket_group = {},
                        .control = "/run/c.sock",
                        .upper = "/vms/a/disk",
                        .index = "/cache/index",
                        .added_layers = {"/k/modules.tar", "/vms/a/vm-layer.tar"}};
  const std::vector<std::string> expected = {"/bin/vfsd",
                                             "--socket-path",
                                             "/run/s.sock",
                                             "--image",
                                             "oci:/images/debian:12",
                                             "--index-dir",
                                             "/cache/index",
                                             "--upper",
                                             "/vms/a/disk",
                                             "--quota",
                                             "4294967296",
                                             "--add-layer",
                                             "/k/modules.tar",
                                             "--add-layer",
                                             "/vms/a/vm-layer.tar",
                                             "--request-queues",
                                             "2",
                                             "--ready-fd",
                                             "3",
                                             "--control-socket",
                                             "/run/c.sock",
                                             "--once"};
  EXPECT_EQ(vfsd_args(config, paths, true), expected);
  config.writeback = true;
  EXPECT_EQ(vfsd_args(config, paths, false).back(), "--writeback");
}

TEST(VfsdArgs, AnotherPlatformIsTold) {
  VmConfig config;
  config.platform = "linux/riscv64";
  const VfsdPaths paths{.vfsd = "vfsd",
                        .socket = {},
                        .socket_group = {},
                        .control = {},
                        .upper = "/u",
                        .index = "/i",
                        .added_layers = {}};
  const auto arguments = vfsd_args(config, paths, true);
  const auto option = std::ranges::find(arguments, "--platform");
  ASSERT_LT(option + 1, arguments.end());
  EXPECT_EQ(*(option + 1), "linux/riscv64");
}

TEST(VfsdArgs, AGuestWithItsOwnUpperOnlyReads) {
  const VfsdPaths paths{.vfsd = "vfsd",
                        .socket = {},
                        .socket_group = {},
                        .control = {},
                        .upper = "/u",
                        .index = "/i",
                        .added_layers = {}};
  for (const UpperKind kind : {UpperKind::kDisk, UpperKind::kRam}) {
    VmConfig config;
    config.upper = kind;
    const auto arguments = vfsd_args(config, paths, true);
    const auto has = [&](const char* word) { return std::ranges::find(arguments, word) != arguments.end(); };
    EXPECT_TRUE(has("--read-only"));
    EXPECT_FALSE(has("--upper") || has("--quota"));
  }
}

TEST(VfsdArgs, AVolumeIsInPlaceOrHasAnUpperWithAQuota) {
  const VfsdPaths paths{.vfsd = "vfsd",
                        .socket = {},
                        .socket_group = {},
                        .control = {},
                        .upper = "/u",
                        .index = "/i",
                        .added_layers = {}};
  Volume volume{.host = "/srv", .guest = "/data", .kind = VolumeKind::kReadOnly, .quota_bytes = 0};
  const auto has = [](const std::vector<std::string>& arguments, const char* word) {
    return std::find(arguments.begin(), arguments.end(), word) != arguments.end();
  };
  auto arguments = volume_vfsd_args({}, volume, paths);
  EXPECT_TRUE(has(arguments, "--share") && has(arguments, "/srv") && has(arguments, "--read-only"));
  EXPECT_FALSE(has(arguments, "--upper"));
  volume.kind = VolumeKind::kShared;
  arguments = volume_vfsd_args({}, volume, paths);
  EXPECT_TRUE(has(arguments, "--share"));
  EXPECT_FALSE(has(arguments, "--read-only") || has(arguments, "--quota") || has(arguments, "--upper"));
  EXPECT_FALSE(has(arguments, "--idmap"));
  volume.id_map = "1000:1001";
  arguments = volume_vfsd_args({}, volume, paths);
  EXPECT_TRUE(has(arguments, "--idmap") && has(arguments, "1000:1001"));
  volume.kind = VolumeKind::kOverlay;
  volume.quota_bytes = 77;
  arguments = volume_vfsd_args({}, volume, paths);
  EXPECT_TRUE(has(arguments, "dir:/srv") && has(arguments, "--upper") && has(arguments, "77"));
  EXPECT_FALSE(has(arguments, "--read-only"));
}

TEST(VfsdArgs, VerbosityIsPassedOn) {
  VmConfig config;
  config.debug = true;
  const auto arguments = vfsd_args(config, {}, false);
  EXPECT_EQ(arguments.back(), "--debug");
}

TEST(VfsdArgs, AGroupMayConnectWhereThereIsASocket) {
  VmConfig config;
  VfsdPaths paths{.vfsd = "vfsd",
                  .socket = "/run/s",
                  .socket_group = "kvm",
                  .control = {},
                  .upper = "/u",
                  .index = "/i",
                  .added_layers = {}};
  const auto told = [](const std::vector<std::string>& arguments) {
    const auto option = std::ranges::find(arguments, "--socket-group");
    return option != arguments.end() && *(option + 1) == "kvm";
  };
  const Volume volume{.host = "/srv", .guest = "/srv"};
  EXPECT_TRUE(told(vfsd_args(config, paths, false)));
  EXPECT_TRUE(told(volume_vfsd_args(config, volume, paths)));
  paths.socket.clear();
  EXPECT_FALSE(told(vfsd_args(config, paths, false))) << "vfsd refuses it without";
  paths.socket = "/run/s";
  paths.socket_group.clear();
  EXPECT_FALSE(told(volume_vfsd_args(config, volume, paths)));
}

}  // namespace
}  // namespace layerboot::launcher
