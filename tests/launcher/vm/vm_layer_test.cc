#include "launcher/vm/vm_layer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "launcher/host/run_tool.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

VmConfig example() {
  VmConfig config;
  config.name = "web_1";
  config.workload.command = {"serve"};
  config.workload.environment = {"A=1"};
  config.machine_id = "0123456789abcdef0123456789abcdef";
  return config;
}

TEST(VmLayer, GnuTarReadsWhatIsInIt) {
  const ScratchDir scratch;
  const auto file = scratch.path() / "layer.tar";
  ASSERT_TRUE(write_vm_layer(example(), file));
  const auto names = run_tool({"tar", "-tf", file.string()});
  ASSERT_TRUE(names) << names.error().describe();
  EXPECT_EQ(*names,
            ".wh..dockerenv\n.layerboot/workload\netc/hostname\netc/hosts\netc/machine-id\netc/resolv.conf\n"
            "etc/systemd/network/80-layerboot.network\n"
            "etc/systemd/system/kmod-static-nodes.service.d/layerboot.conf\n"
            "etc/systemd/system/dev-ttyS0.device.d/layerboot.conf\nrun/.wh..containerenv\n");
  const auto content = [&file](const char* name) {
    return run_tool({"tar", "-xOf", file.string(), name}).value_or("?");
  };
  EXPECT_EQ(content("etc/hostname"), "web-1\n");
  EXPECT_NE(content("etc/hosts").find("127.0.1.1 web-1\n"), std::string::npos);
  EXPECT_EQ(content("etc/machine-id"), "0123456789abcdef0123456789abcdef\n");
  EXPECT_EQ(content("etc/resolv.conf"), "nameserver 10.0.2.3\n");
  EXPECT_NE(content("etc/systemd/network/80-layerboot.network").find("DHCP=yes"), std::string::npos);
  EXPECT_EQ(content(".wh..dockerenv"), "");
  EXPECT_EQ(content(".layerboot/workload"), std::string("cmd=serve\0env=A=1\0", 18));
  const auto modes = run_tool({"tar", "-tvf", file.string(), "--numeric-owner", "etc/machine-id"});
  ASSERT_TRUE(modes);
  EXPECT_TRUE(modes->starts_with("-r--r--r-- 0/0 ")) << *modes;
}

TEST(VmLayer, ALongHostNameIsWholeInHostsAlone) {
  VmConfig config = example();
  config.hostname = "web.example.org";
  EXPECT_NE(vm_layer_tar(config)->find("127.0.1.1 web.example.org web\n"), std::string::npos);
  config.hostname = "web." + std::string(63, 'a') + ".org";
  const auto tar = vm_layer_tar(config);
  ASSERT_TRUE(tar);
  EXPECT_NE(tar->find("127.0.1.1 " + config.hostname + " web\n"), std::string::npos);
  EXPECT_EQ(tar->find(std::string("\0") + config.hostname + "\n"), std::string::npos);
}

TEST(VmLayer, OnADiskTheKernelsModulesStayMountedToTheEnd) {
  VmConfig config = example();
  config.kernel_release = "6.12.9+deb12-cloud-amd64";
  config.disk_root = true;
  const auto tar = vm_layer_tar(config);
  ASSERT_TRUE(tar);
  EXPECT_NE(tar->find("usr-lib-modules-6.12.9\\x2bdeb12\\x2dcloud\\x2damd64.mount.d/layerboot.conf"),
            std::string::npos);
  EXPECT_NE(tar->find("boot-config\\x2d6.12.9"), std::string::npos);
  config.disk_root = false;
  EXPECT_EQ(vm_layer_tar(config)->find(".mount.d/"), std::string::npos);
}

TEST(VmLayer, WithoutNetworkTheImagesOwnResolverStays) {
  VmConfig config = example();
  config.net = Net::kNone;
  const auto tar = vm_layer_tar(config);
  ASSERT_TRUE(tar);
  EXPECT_EQ(tar->find("resolv.conf"), std::string::npos);
  EXPECT_EQ(tar->find("80-layerboot"), std::string::npos);
}

TEST(VmLayer, AFurtherCardsRoutesAreBehindTheFirstOnes) {
  VmConfig config = example();
  config.machine_id = "0123456789abcdef0123456789abcdef";
  config.more_nets = {{.kind = Net::kUser, .tap = {}}};
  const auto tar = vm_layer_tar(config);
  ASSERT_TRUE(tar);
  EXPECT_NE(tar->find("79-layerboot-net1.network"), std::string::npos);
  EXPECT_NE(tar->find("MACAddress=52:54:00:ab:cd:f0\n"), std::string::npos);
  EXPECT_NE(tar->find("RouteMetric=1025\n"), std::string::npos);
}

TEST(VmLayer, IsWrittenOnlyWhenItChanges) {
  const ScratchDir scratch;
  const auto file = scratch.path() / "layer.tar";
  struct stat first{};
  struct stat again{};
  struct stat changed{};
  ASSERT_TRUE(write_vm_layer(example(), file));
  ASSERT_EQ(::stat(file.c_str(), &first), 0);
  EXPECT_EQ(first.st_mode & 07777, 0600U);
  ASSERT_TRUE(write_vm_layer(example(), file));
  ASSERT_EQ(::stat(file.c_str(), &again), 0);
  EXPECT_EQ(first.st_ino, again.st_ino);
  VmConfig other = example();
  other.net = Net::kNone;
  ASSERT_TRUE(write_vm_layer(other, file));
  ASSERT_EQ(::stat(file.c_str(), &changed), 0);
  EXPECT_NE(first.st_ino, changed.st_ino);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()), {}), 1)
      << "nothing left beside it";
}

TEST(VmLayer, HasWhatAPersonAskedFor) {
  const ScratchDir scratch;
  const auto file = scratch.path() / "layer.tar";
  VmConfig config = example();
  config.hosts = {{.name = "db", .address = "10.0.0.1"}};
  config.dns = {"9.9.9.9", "1.1.1.1"};
  config.autologin = true;
  ASSERT_TRUE(write_vm_layer(config, file, {{.path = "/etc/app.conf", .content = "x=1\n", .mode = 0600}}));
  const auto content = [&file](const char* name) {
    return run_tool({"tar", "-xOf", file.string(), name}).value_or("?");
  };
  EXPECT_TRUE(content("etc/hosts").ends_with("\n10.0.0.1 db\n")) << content("etc/hosts");
  EXPECT_EQ(content("etc/resolv.conf"), "nameserver 9.9.9.9\nnameserver 1.1.1.1\n");
  EXPECT_EQ(content("etc/app.conf"), "x=1\n");
  EXPECT_NE(
      content("etc/systemd/system/serial-getty@ttyS0.service.d/layerboot.conf").find("--autologin root"),
      std::string::npos);
}

}  // namespace
}  // namespace layerboot::launcher
