#include "launcher/vfsd_args.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

TEST(VfsdArgs, Golden) {
  VmConfig config;
  config.image = "oci:/images/debian:12";
  config.quota_bytes = std::uint64_t{4} << 30U;
  config.request_queues = 2;
  const VfsdPaths paths{.vfsd = "/bin/vfsd",
                        .socket = "/run/s.sock",
                        .upper = "/vms/a/disk",
                        .index = "/cache/index",
                        .added_layers = {"/k/modules.tar", "/vms/a/vm-layer.tar"}};
  const std::vector<std::string> expected = {"/bin/vfsd",
                                             "--socket-path",
                                             "/run/s.sock",
                                             "--image",
                                             "oci:/images/debian:12",
                                             "--upper",
                                             "/vms/a/disk",
                                             "--quota",
                                             "4294967296",
                                             "--index-dir",
                                             "/cache/index",
                                             "--add-layer",
                                             "/k/modules.tar",
                                             "--add-layer",
                                             "/vms/a/vm-layer.tar",
                                             "--request-queues",
                                             "2",
                                             "--ready-fd",
                                             "3",
                                             "--once"};
  EXPECT_EQ(vfsd_args(config, paths, true), expected);
}

TEST(VfsdArgs, VerbosityIsPassedOn) {
  VmConfig config;
  config.debug = true;
  const auto arguments = vfsd_args(config, {}, false);
  EXPECT_EQ(arguments.back(), "--debug");
}

}  // namespace
}  // namespace layerboot::launcher
