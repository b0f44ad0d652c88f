#include "launcher/qemu/qemu_args.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace layerboot::launcher {
namespace {

using Arguments = std::vector<std::string>;

VmConfig example() {
  VmConfig config;
  config.name = "debian-12";
  config.cpus = 2;
  config.memory_bytes = std::uint64_t{1} << 30U;
  config.vmlinuz = "/k/vmlinuz";
  config.initrd = "/k/initrd";
  config.request_queues = 2;
  return config;
}

std::string value_of(const Arguments& arguments, const std::string& option) {
  const auto it = std::ranges::find(arguments, option);
  return it == arguments.end() || it + 1 == arguments.end() ? "" : *(it + 1);
}

bool any_starts_with(const Arguments& arguments, std::string_view start) {
  return std::ranges::any_of(arguments, [start](const std::string& text) { return text.starts_with(start); });
}

TEST(QemuArgs, GoldenUnderTcg) {
  const Arguments expected = {
      "/usr/bin/qemu-system-x86_64",
      "-name",
      "guest=debian-12,process=layerboot:debian-12",
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-sandbox",
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
      "-machine",
      "q35,hpet=off,vmport=off,smm=off,sata=off,usb=off,memory-backend=memory",
      "-accel",
      "tcg,thread=single",
      "-cpu",
      "max",
      "-smp",
      "cpus=2",
      "-m",
      "1073741824B",
      "-object",
      "memory-backend-memfd,id=memory,share=on,size=1073741824B",
      "-kernel",
      "/k/vmlinuz",
      "-initrd",
      "/k/initrd",
      "-append",
      "console=ttyS0 rootfstype=virtiofs root=root rw panic=-1 tsc=reliable no_timer_check quiet loglevel=4 "
      "systemd.show_status=1 systemd.wants=systemd-networkd.service layerboot.agent layerboot.net=user",
      "-chardev",
      "socket,id=virtiofs,fd=3",
      "-device",
      "vhost-user-fs-pci,chardev=virtiofs,tag=root,queue-size=1024,num-request-queues=2",
      "-device",
      "virtio-rng-pci",
      "-netdev",
      "user,id=net",
      "-device",
      "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56,romfile=",
      "-chardev",
      "socket,id=console,fd=4",
      "-serial",
      "chardev:console",
      "-device",
      "virtio-serial-pci,max_ports=2",
      "-chardev",
      "socket,id=agent,fd=6",
      "-device",
      "virtserialport,chardev=agent,name=org.layerboot.agent",
      "-chardev",
      "socket,id=qmp,fd=5",
      "-mon",
      "chardev=qmp,mode=control"};
  EXPECT_EQ(*qemu_args(example(), "/usr/bin/qemu-system-x86_64"), expected);
}

TEST(QemuArgs, KvmTakesTheHostsProcessorAndMayUseMicrovm) {
  VmConfig config = example();
  config.accel = Accel::kKvm;
  config.machine = Machine::kMicrovm;
  const auto arguments = *qemu_args(config, "qemu");
  EXPECT_EQ(value_of(arguments, "-cpu"), "host");
  EXPECT_EQ(value_of(arguments, "-machine"), "microvm,acpi=on,pcie=on,rtc=on,memory-backend=memory");
  EXPECT_EQ(value_of(arguments, "-accel"), "kvm");
  EXPECT_EQ(value_of(arguments, "-append").find("no_timer_check"), std::string::npos);
}

TEST(QemuArgs, WithoutNetworkThereIsNoCardAndNoNetworkd) {
  VmConfig config = example();
  config.net = Net::kNone;
  const auto arguments = *qemu_args(config, "qemu");
  EXPECT_FALSE(any_starts_with(arguments, "virtio-net"));
  EXPECT_FALSE(any_starts_with(arguments, "user,"));
  EXPECT_EQ(value_of(arguments, "-append").find("networkd"), std::string::npos);
}

TEST(QemuArgs, FurtherCardsHaveNetworksAndAddressesOfTheirOwn) {
  VmConfig config = example();
  config.machine_id = "0123456789abcdef0123456789abcdef";
  config.more_nets = {{.kind = Net::kUser, .tap = {}}, {.kind = Net::kTap, .tap = "tap1"}};
  const auto arguments = *qemu_args(config, "qemu");
  const auto has = [&](std::string_view text) {
    return std::ranges::find(arguments, text) != arguments.end();
  };
  EXPECT_TRUE(has("virtio-net-pci,netdev=net,mac=52:54:00:ab:cd:ef,romfile="));
  EXPECT_TRUE(has("user,id=net1,net=10.0.3.0/24"));
  EXPECT_TRUE(has("virtio-net-pci,netdev=net1,mac=52:54:00:ab:cd:f0,romfile="));
  EXPECT_TRUE(has("tap,id=net2,script=no,downscript=no,ifname=tap1"));
  EXPECT_TRUE(has("virtio-net-pci,netdev=net2,mac=52:54:00:ab:cd:f1,romfile="));
}

TEST(QemuArgs, AKernelWithoutInitrdHasNoSuchOption) {
  VmConfig config = example();
  config.initrd.clear();
  EXPECT_FALSE(any_starts_with(*qemu_args(config, "qemu"), "-initrd"));
}

TEST(QemuArgs, ADiskRootNeedsNoDaemon) {
  VmConfig config = example();
  config.disk_root = true;
  config.root_disk = "/vms/a,b/disk.qcow2";
  config.root_disk_base = "/disks/c,d/disk.raw";
  config.modules_disk = "/disks/modules/disk.raw";
  auto arguments = *qemu_args(config, "qemu");
  EXPECT_TRUE(any_starts_with(
      arguments,
      "if=none,id=root,format=qcow2,discard=unmap,snapshot=off,file=/vms/a,,b/disk.qcow2,backing.driver=raw,"
      "backing.read-only=on,backing.file.driver=file,backing.file.filename=/disks/c,,d/disk.raw"));
  EXPECT_TRUE(
      any_starts_with(arguments, "if=none,id=modules,format=raw,readonly=on,file=/disks/modules/disk.raw"));
  EXPECT_FALSE(any_starts_with(arguments, "vhost-user-fs-pci"));
  EXPECT_TRUE(value_of(arguments, "-append")
                  .starts_with(
                      "console=ttyS0 rootfstype=ext4 root=/dev/vda rw panic=-1 layerboot.modules=/dev/vdb "));
  config.modules_disk.clear();
  config.ephemeral = true;
  arguments = *qemu_args(config, "qemu");
  EXPECT_FALSE(any_starts_with(arguments, "if=none,id=modules"));
  EXPECT_TRUE(any_starts_with(arguments, "if=none,id=root,format=qcow2,discard=unmap,snapshot=on,"));
  EXPECT_EQ(value_of(arguments, "-append").find("layerboot.modules"), std::string::npos);
}

TEST(QemuArgs, AGuestsOwnUpperIsADiskOrATmpfs) {
  VmConfig config = example();
  config.upper = UpperKind::kDisk;
  config.upper_disk = "/vms/a,b/upper.raw";
  auto arguments = *qemu_args(config, "qemu");
  EXPECT_TRUE(any_starts_with(arguments, "vhost-user-fs-pci,chardev=virtiofs,tag=root,"));
  EXPECT_TRUE(any_starts_with(arguments,
                              "if=none,id=upper,format=raw,discard=unmap,werror=report,cache=writeback,"
                              "file=/vms/a,,b/upper.raw"));
  EXPECT_TRUE(any_starts_with(arguments, "virtio-blk-pci,drive=upper"));
  EXPECT_NE(value_of(arguments, "-append").find(" root=root rw panic=-1 layerboot.upper=/dev/vda "),
            std::string::npos)
      << value_of(arguments, "-append");
  config.ephemeral = true;
  arguments = *qemu_args(config, "qemu");
  EXPECT_TRUE(
      any_starts_with(arguments, "if=none,id=upper,format=raw,discard=unmap,werror=report,cache=unsafe,"));
  EXPECT_NE(value_of(arguments, "-append").find(" layerboot.upper=/dev/vda,volatile "), std::string::npos);
  config.upper = UpperKind::kRam;
  config.upper_disk.clear();
  arguments = *qemu_args(config, "qemu");
  EXPECT_FALSE(any_starts_with(arguments, "if=none"));
  EXPECT_NE(value_of(arguments, "-append").find(" layerboot.upper=ram,size=536870912 "), std::string::npos)
      << "half of its memory";
  config.quota_bytes = 1U << 20U;
  EXPECT_NE(kernel_command_line(config)->find(" layerboot.upper=ram,size=1048576 "), std::string::npos);
}

TEST(QemuArgs, ASwapDiskIsTheLastDisk) {
  const auto named = [](const VmConfig& config) {
    const auto arguments = *qemu_args(config, "qemu");
    EXPECT_TRUE(any_starts_with(
        arguments,
        "if=none,id=swap,format=raw,discard=unmap,werror=report,cache=unsafe,file=/vms/a,,b/swap.raw"));
    EXPECT_TRUE(any_starts_with(arguments, "virtio-blk-pci,drive=swap"));
    const std::string line = value_of(arguments, "-append");
    const auto at = line.find(" layerboot.swap=");
    return at == std::string::npos ? line : line.substr(at + 1, line.find(' ', at + 1) - at - 1);
  };
  VmConfig config = example();
  EXPECT_EQ(kernel_command_line(config)->find("layerboot.swap"), std::string::npos);
  config.swap_disk = "/vms/a,b/swap.raw";
  EXPECT_EQ(named(config), "layerboot.swap=/dev/vda");
  config.upper = UpperKind::kDisk;
  config.upper_disk = "/vms/a/upper.raw";
  EXPECT_EQ(named(config), "layerboot.swap=/dev/vdb");
  config.upper = UpperKind::kHost;
  config.upper_disk.clear();
  config.disk_root = true;
  EXPECT_EQ(named(config), "layerboot.swap=/dev/vdb");
  config.modules_disk = "/modules.raw";
  EXPECT_EQ(named(config), "layerboot.swap=/dev/vdc");
}

TEST(KernelCommandLine, AppendsAndHasABound) {
  VmConfig config = example();
  config.append = "single";
  EXPECT_TRUE(kernel_command_line(config)->ends_with(" single"));
  config.append.assign(2048, 'a');
  const auto line = kernel_command_line(config);
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code, E2BIG);
  EXPECT_NE(line.error().text.find("--append"), std::string::npos);
}

TEST(KernelCommandLine, WhatAKernelNeedsUnderTcgIsForTcgOnly) {
  VmConfig config = example();
  config.tcg_append = "clearcpuid=x";
  EXPECT_NE(kernel_command_line(config)->find(" clearcpuid=x"), std::string::npos);
  config.accel = Accel::kKvm;
  EXPECT_EQ(kernel_command_line(config)->find("clearcpuid"), std::string::npos);
}

/// kernel/DESIGN.md, "Emulated machines".
TEST(QemuArgs, OlderQemusEmulateAllProcessorsInOneThread) {
  VmConfig config = example();
  for (const unsigned faulty : {0U, 7U, 9U}) {
    config.qemu_major = faulty;
    EXPECT_EQ(value_of(*qemu_args(config, "qemu"), "-accel"), "tcg,thread=single") << faulty;
  }
  config.qemu_major = 10;
  EXPECT_EQ(value_of(*qemu_args(config, "qemu"), "-accel"), "tcg");
  config.qemu_major = 7;
  config.accel = Accel::kKvm;
  EXPECT_EQ(value_of(*qemu_args(config, "qemu"), "-accel"), "kvm");
}

TEST(KernelCommandLine, WhatOlderQemusTcgNeedsIsLeftOutFromQemu10On) {
  VmConfig config = example();
  config.tcg_append = "clearcpuid=x";
  for (const unsigned faulty : {0U, 7U, 9U}) {
    config.qemu_major = faulty;
    EXPECT_NE(kernel_command_line(config)->find(" clearcpuid=x"), std::string::npos) << faulty;
  }
  for (const unsigned sound : {10U, 11U}) {
    config.qemu_major = sound;
    EXPECT_EQ(kernel_command_line(config)->find("clearcpuid"), std::string::npos) << sound;
    // Its TSC is the host's as ever, and is not to be calibrated.
    EXPECT_NE(kernel_command_line(config)->find(" tsc=reliable no_timer_check"), std::string::npos) << sound;
  }
}

TEST(KernelCommandLine, AnEmulatedGuestIsToldTheRateOfItsClock) {
  VmConfig config = example();
  EXPECT_EQ(kernel_command_line(config)->find("tsc_early_khz"), std::string::npos) << "not known";
  config.tsc_khz = 2'596'142;
  EXPECT_NE(kernel_command_line(config)->find(" tsc_early_khz=2596142 "), std::string::npos);
  config.accel = Accel::kKvm;
  EXPECT_EQ(kernel_command_line(config)->find("tsc_early_khz"), std::string::npos);
}

TEST(KernelCommandLine, VerbosityReachesTheGuest) {
  VmConfig config = example();
  config.debug = true;
  EXPECT_EQ(kernel_command_line(config)->find("quiet"), std::string::npos);
  config.debug = false;
  config.quiet = true;
  EXPECT_NE(kernel_command_line(config)->find("systemd.show_status=0"), std::string::npos);
}

TEST(ProbeArgs, IsAVmOfKernelAndConsoleAlone) {
  const auto arguments = probe_args("qemu", "/k/vmlinuz", "/k/initrd");
  EXPECT_EQ(value_of(arguments, "-accel"), "kvm");
  EXPECT_EQ(value_of(arguments, "-cpu"), "host");
  EXPECT_NE(value_of(arguments, "-append").find("layerboot.probe"), std::string::npos);
  EXPECT_EQ(value_of(arguments, "-chardev"), "socket,id=console,fd=3");
  EXPECT_FALSE(any_starts_with(arguments, "-device"));
}

TEST(QemuArgs, AnotherArchitectureIsAnotherMachine) {
  VmConfig config = example();
  config.platform = "linux/arm64";
  config.tsc_khz = 2'596'142;
  auto arguments = *qemu_args(config, "qemu");
  if (is_foreign(architecture_of(config))) {
    EXPECT_EQ(value_of(arguments, "-machine"), "virt,gic-version=max,memory-backend=memory");
    EXPECT_EQ(value_of(arguments, "-cpu"), "max,pauth-impdef=on");
  }
  const std::string line = value_of(arguments, "-append");
  EXPECT_TRUE(line.starts_with("console=ttyAMA0 rootfstype=virtiofs root=root rw")) << line;
  EXPECT_EQ(line.find("tsc"), std::string::npos) << line;
  EXPECT_EQ(line.find("timer_check"), std::string::npos) << line;
  EXPECT_TRUE(any_starts_with(arguments, "vhost-user-fs-pci,"));
  EXPECT_TRUE(any_starts_with(arguments, "memory-backend-memfd,"));
  config.platform = "linux/arm/v7";
  EXPECT_EQ(*qemu_args(config, "qemu"), arguments) << "the same machine runs them";
  config.platform = "linux/riscv64";
  arguments = *qemu_args(config, "qemu");
  EXPECT_EQ(value_of(arguments, "-machine"), "virt,memory-backend=memory");
  EXPECT_TRUE(value_of(arguments, "-append").starts_with("console=ttyS0 "));
}

TEST(QemuArgs, WhatIsAddedLateCountsAsWell) {
  VmConfig config = example();
  const std::size_t room_bytes = 2047 - kernel_command_line(config)->size();
  config.append = std::string(room_bytes - 1, 'x');
  EXPECT_TRUE(qemu_args(config, "qemu"));
  config.swap_disk = "/vms/vm/swap.raw";
  const auto arguments = qemu_args(config, "qemu");
  ASSERT_FALSE(arguments) << "an empty command line boots nothing";
  EXPECT_NE(arguments.error().text.find("--append"), std::string::npos) << arguments.error().text;
}

TEST(QemuArgs, ControlCharactersAreNoKernelArguments) {
  for (const char* odd : {"a\nb", "a\tb", "\x1b[2J", "\x7f"}) {
    VmConfig config = example();
    config.append = odd;
    const auto line = kernel_command_line(config);
    ASSERT_FALSE(line) << odd;
    EXPECT_NE(line.error().text.find("--append"), std::string::npos) << line.error().text;
  }
}

TEST(QemuArgs, AKernelKeepsWhatItsArchitectureHasRoomFor) {
  VmConfig config = example();
  config.append = std::string(1100, 'x');
  EXPECT_TRUE(kernel_command_line(config));
  config.platform = "linux/riscv64";
  const auto line = kernel_command_line(config);
  ASSERT_FALSE(line);
  EXPECT_NE(line.error().text.find("keeps 1023"), std::string::npos) << line.error().text;
}

}  // namespace
}  // namespace layerboot::launcher
