#include "launcher/qemu/qemu_args.h"

#include <algorithm>

#include "launcher/qemu/option_value.h"
#include "launcher/qemu/qemu_user.h"
#include "launcher/vm/guest_plan.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

constexpr std::uint64_t kProbeMemoryMib = 256;
/// From this QEMU on its TCG needs no help (kernel/DESIGN.md, "Emulated machines").
constexpr unsigned kSoundTcgMajor = 10;

/// Works with user and stream networks; QEMU starts no program for us. Where it is to become another user,
/// the calls for that can't be refused: afterwards it has no right to use them.
std::string sandbox_argument(bool changes_user) {
  return str_cat("on,obsolete=deny,elevateprivileges=", changes_user ? "allow" : "deny",
                 ",spawn=deny,resourcecontrol=deny");
}

std::string machine_argument(const Architecture& architecture, Machine machine, std::string_view more) {
  // pcie=on keeps every device the same PCI device as on q35.
  if (machine == Machine::kMicrovm) return str_cat("microvm,acpi=on,pcie=on,rtc=on", more);
  return str_cat(architecture.machine, architecture.machine_options, more);
}

bool has_faulty_tcg(const VmConfig& config) {
  return config.accel == Accel::kTcg && config.qemu_major < kSoundTcgMajor;
}

std::string accel_argument(const VmConfig& config) {
  if (config.accel == Accel::kKvm) return "kvm";
  return has_faulty_tcg(config) ? "tcg,thread=single" : "tcg";
}

std::string_view cpu_model(const Architecture& architecture, Accel accel) {
  return accel == Accel::kKvm ? "host" : architecture.emulated_cpu;
}

std::string netdev_argument(const VmConfig& config) {
  if (config.net == Net::kTap) {
    return str_cat("tap,id=net,script=no,downscript=no,ifname=", config.tap);
  }
  if (config.net == Net::kPasst) {
    const int fd = kQemuFirstVolumeFd + static_cast<int>(config.volumes.size());
    return str_cat("stream,id=net,server=off,addr.type=fd,addr.str=", fd);
  }
  return user_netdev_argument(config);
}

/// Behind the first card, which has the published ports.
std::string further_netdev_argument(const NetCard& card, std::size_t number) {
  if (card.kind == Net::kTap)
    return str_cat("tap,id=net", number, ",script=no,downscript=no,ifname=", card.tap);
  return str_cat("user,id=net", number, ",net=10.0.", 2 + number, ".0/24");
}

void add_network(const VmConfig& config, std::vector<std::string>& args) {
  if (config.net == Net::kNone) return;
  const auto add_card = [&](const std::string& netdev, const std::string& id, std::size_t number) {
    // romfile=: no boot ROM to load for a guest that does not boot from the network.
    args.insert(args.end(), {"-netdev", netdev, "-device",
                             str_cat("virtio-net-pci,netdev=", id,
                                     ",mac=", mac_address(config.machine_id, number), ",romfile=")});
  };
  add_card(netdev_argument(config), "net", 0);
  for (std::size_t i = 0; i < config.more_nets.size(); ++i)
    add_card(further_netdev_argument(config.more_nets[i], i + 1), str_cat("net", i + 1), i + 1);
}

void add_common(std::vector<std::string>& args, bool changes_user) {
  args.insert(args.end(), {"-nodefaults", "-no-user-config", "-display", "none", "-sandbox",
                           sandbox_argument(changes_user)});
}

std::string upper_argument(const VmConfig& config) {
  switch (config.upper) {
    case UpperKind::kHost:
      break;
    case UpperKind::kDisk:
      return str_cat(" layerboot.upper=/dev/vda", config.ephemeral ? ",volatile" : "");
    case UpperKind::kRam:
      return str_cat(" layerboot.upper=ram,size=", upper_cap_bytes(config, config.quota_bytes));
  }
  return {};
}

/// What lies below the overlay, and is never written to: said here, since the guest may have written what the
/// overlay says of it.
std::string base_argument(const VmConfig& config) {
  if (config.disk_format != DiskFormat::kQcow2 || config.root_disk_base.empty()) return {};
  return str_cat(",backing.driver=raw,backing.read-only=on,backing.file.driver=file,backing.file.filename=",
                 escape_commas(config.root_disk_base.string()));
}

bool is_control(char c) { return (c >= 0 && c < ' ') || c == '\x7f'; }

/// Disks have their names in the order in which qemu_args() gives them; this one is the last.
std::string swap_device(const VmConfig& config) {
  char letter = 'a';
  if (config.disk_root) letter = config.modules_disk.empty() ? 'b' : 'c';
  if (!config.upper_disk.empty()) letter = 'b';
  return str_cat("/dev/vd", letter);
}

}  // namespace

Result<std::string> kernel_command_line(const VmConfig& config) {
  const Architecture& architecture = architecture_of(config);
  std::string line = str_cat("console=", architecture.console, ' ');
  line += config.disk_root ? "rootfstype=ext4 root=/dev/vda" : "rootfstype=virtiofs root=root";
  line += " rw panic=-1";
  line += upper_argument(config);
  if (config.disk_root && !config.modules_disk.empty()) line += " layerboot.modules=/dev/vdb";
  if (!config.swap_disk.empty()) line += str_cat(" layerboot.swap=", swap_device(config));
  if (config.accel == Accel::kTcg) line += architecture.emulated_arguments;
  if (config.accel == Accel::kTcg && architecture.has_tsc && config.tsc_khz != 0)
    line += str_cat(" tsc_early_khz=", config.tsc_khz);
  if (has_faulty_tcg(config) && !config.tcg_append.empty()) line += str_cat(' ', config.tcg_append);
  line += config.debug ? " systemd.log_target=kmsg" : " quiet loglevel=4";
  line += config.quiet ? " systemd.show_status=0" : " systemd.show_status=1";
  // The image may have networkd without having enabled it; where there is none the wish is ignored.
  if (config.net != Net::kNone) line += " systemd.wants=systemd-networkd.service";
  for (std::size_t i = 0; i < config.volumes.size(); ++i) {
    const Volume& volume = config.volumes[i];
    line += str_cat(" layerboot.mount=", volume_tag(i), ':', volume.guest,
                    volume.kind == VolumeKind::kReadOnly ? ":ro" : "");
  }
  if (config.timing) line += " layerboot.timing systemd.wants=layerboot-timing.service";
  line += guest_arguments(config);
  if (!config.append.empty()) line += str_cat(' ', config.append);
  LB_ASSIGN(const std::string for_init, init_arguments(config));
  line += for_init;
  if (std::ranges::any_of(line, is_control))
    return fail(EINVAL,
                "the kernel's command line would have a line feed or another control character in it: "
                "leave it out of --append");
  if (line.size() > architecture.max_command_line_bytes) {
    return fail(E2BIG, "kernel command line of ", line.size(), " bytes: the kernel keeps ",
                architecture.max_command_line_bytes, ", shorten --append or the paths of the volumes");
  }
  return line;
}

std::string user_netdev_argument(const VmConfig& config) {
  std::string argument = "user,id=net";
  for (const PublishedPort& port : config.published) {
    argument +=
        str_cat(",hostfwd=", port.udp ? "udp:" : "tcp:", port.address, ':', port.host, "-:", port.guest);
  }
  return argument;
}

Result<std::vector<std::string>> qemu_args(const VmConfig& config, const std::filesystem::path& qemu) {
  // As bytes, since memory backend and machine must agree to the byte.
  const std::string memory = str_cat(config.memory_bytes, "B");
  const Architecture& architecture = architecture_of(config);
  LB_ASSIGN(std::string command_line, kernel_command_line(config));
  std::vector<std::string> args = {qemu.string()};
  const auto add = [&args](std::string option, std::string value) {
    args.push_back(std::move(option));
    args.push_back(std::move(value));
  };
  add("-name", str_cat("guest=", config.name, ",process=layerboot:", config.name));
  add_common(args, config.qemu_uid != 0);
  for (std::string& argument : qemu_user_args(config)) args.push_back(std::move(argument));
  add("-machine", machine_argument(architecture, config.machine, ",memory-backend=memory"));
  add("-accel", accel_argument(config));
  add("-cpu", std::string(cpu_model(architecture, config.accel)));
  add("-smp", str_cat("cpus=", config.cpus));
  add("-m", memory);
  // The daemon reads and writes the guest's memory: it must be shareable.
  add("-object", str_cat("memory-backend-memfd,id=memory,share=on,size=", memory));
  add("-kernel", config.vmlinuz.string());
  if (!config.initrd.empty()) add("-initrd", config.initrd.string());
  add("-append", std::move(command_line));
  if (config.disk_root) {
    // In this order they are /dev/vda and /dev/vdb.
    add("-drive", str_cat("if=none,id=root,format=", config.disk_format == DiskFormat::kRaw ? "raw" : "qcow2",
                          ",discard=unmap,snapshot=", config.ephemeral ? "on" : "off",
                          ",file=", escape_commas(config.root_disk.string()), base_argument(config)));
    add("-device", "virtio-blk-pci,drive=root");
    if (!config.modules_disk.empty()) {
      add("-drive", str_cat("if=none,id=modules,format=raw,readonly=on,file=",
                            escape_commas(config.modules_disk.string())));
      add("-device", "virtio-blk-pci,drive=modules");
    }
  } else {
    add("-chardev", str_cat("socket,id=virtiofs,fd=", kQemuVirtiofsFd));
    add("-device", str_cat("vhost-user-fs-pci,chardev=virtiofs,tag=root,queue-size=1024,num-request-queues=",
                           config.request_queues));
    if (!config.upper_disk.empty()) {
      // What ends with the run need not get to the host's disk. Where that is full, the guest is to hear of
      // it.
      add("-drive", str_cat("if=none,id=", kUpperDrive, ",format=raw,discard=unmap,werror=report,cache=",
                            config.ephemeral ? "unsafe" : "writeback",
                            ",file=", escape_commas(config.upper_disk.string())));
      add("-device", str_cat("virtio-blk-pci,drive=", kUpperDrive));
    }
  }
  if (!config.swap_disk.empty()) {
    // Nothing of it is needed after the run. What the guest discards, the host gets back.
    add("-drive", str_cat("if=none,id=swap,format=raw,discard=unmap,werror=report,cache=unsafe,file=",
                          escape_commas(config.swap_disk.string())));
    add("-device", "virtio-blk-pci,drive=swap");
  }
  add("-device", "virtio-rng-pci");
  for (std::size_t i = 0; i < config.volumes.size(); ++i) {
    const std::string tag = volume_tag(i);
    add("-chardev", str_cat("socket,id=", tag, ",fd=", kQemuFirstVolumeFd + static_cast<int>(i)));
    add("-device", str_cat("vhost-user-fs-pci,chardev=", tag, ",tag=", tag, ",queue-size=1024"));
  }
  add_network(config, args);
  add("-chardev", str_cat("socket,id=console,fd=", kQemuConsoleFd));
  add("-serial", "chardev:console");
  // One port: its number is of no interest, its name is.
  add("-device", "virtio-serial-pci,max_ports=2");
  add("-chardev", str_cat("socket,id=agent,fd=", kQemuAgentFd));
  add("-device", str_cat("virtserialport,chardev=agent,name=", std::string_view(guest_init::kAgentPort)));
  add("-chardev", str_cat("socket,id=qmp,fd=", kQemuQmpFd));
  add("-mon", "chardev=qmp,mode=control");
  return args;
}

std::vector<std::string> probe_args(const std::filesystem::path& qemu, const std::filesystem::path& vmlinuz,
                                    const std::filesystem::path& initrd) {
  const Architecture& own = own_architecture();
  std::vector<std::string> args = {qemu.string()};
  add_common(args, false);
  for (const std::string& argument :
       {std::string("-machine"), machine_argument(own, Machine::kQ35, ""), std::string("-accel"),
        std::string("kvm"), std::string("-cpu"), std::string(cpu_model(own, Accel::kKvm)), std::string("-m"),
        str_cat(kProbeMemoryMib), std::string("-no-reboot"), std::string("-kernel"), vmlinuz.string(),
        std::string("-initrd"), initrd.string(), std::string("-append"),
        str_cat("console=", own.console, " quiet panic=-1 layerboot.probe"), std::string("-chardev"),
        str_cat("socket,id=console,fd=", kFirstInheritedFd), std::string("-serial"),
        std::string("chardev:console")}) {
    args.push_back(argument);
  }
  return args;
}

}  // namespace layerboot::launcher
