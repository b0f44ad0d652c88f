#include "launcher/export/libvirt_domain.h"

#include "launcher/host/architecture.h"
#include "launcher/qemu/qemu_args.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&apos;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string element(std::string_view name, std::string_view content) {
  return str_cat('<', name, '>', escape(content), "</", name, '>');
}

/// A UUID in five parts out of the machine-id's 32 digits, so that the same VM is the same domain.
std::string uuid_of(const std::string& machine_id) {
  return str_cat(machine_id.substr(0, 8), '-', machine_id.substr(8, 4), '-', machine_id.substr(12, 4), '-',
                 machine_id.substr(16, 4), '-', machine_id.substr(20));
}

std::string disk(const std::filesystem::path& file, std::string_view format, std::string_view target,
                 bool read_only, std::string_view below = {}) {
  return str_cat("    <disk type='file' device='disk'>\n      <driver name='qemu' type='", format,
                 "' discard='unmap'/>\n      <source file='", escape(file.string()), "'/>\n", below,
                 "      <target dev='", target, "' bus='virtio'/>\n", read_only ? "      <readonly/>\n" : "",
                 "    </disk>\n");
}

/// So that libvirt looks for no base in what the guest may have written.
std::string base_below(const VmConfig& config) {
  if (config.disk_format != DiskFormat::kQcow2 || config.root_disk_base.empty()) return {};
  return str_cat("      <backingStore type='file'>\n        <format type='raw'/>\n        <source file='",
                 escape(config.root_disk_base.string()),
                 "'/>\n        <backingStore/>\n      </backingStore>\n");
}

std::string share(const std::filesystem::path& socket, std::string_view tag) {
  return str_cat(
      "    <filesystem type='mount'>\n      <driver type='virtiofs' queue='1024'/>\n      <source socket='",
      escape(socket.string()), "'/>\n      <target dir='", tag, "'/>\n    </filesystem>\n");
}

std::string storage(const VmConfig& config, const std::filesystem::path& virtiofs_socket) {
  if (config.disk_root) {
    std::string disks = disk(config.root_disk, config.disk_format == DiskFormat::kRaw ? "raw" : "qcow2",
                             "vda", false, base_below(config));
    if (!config.modules_disk.empty()) disks += disk(config.modules_disk, "raw", "vdb", true);
    return disks;
  }
  std::string shares = share(virtiofs_socket, "root");
  for (std::size_t i = 0; i < config.volumes.size(); ++i) {
    shares += share(volume_socket(virtiofs_socket, i), volume_tag(i));
  }
  if (!config.upper_disk.empty()) shares += disk(config.upper_disk, "raw", "vda", false);
  return shares;
}

/// Whether ports lead into the guest. libvirt itself forwards none into QEMU's user network, so that QEMU
/// gets its network by arguments of ours.
bool has_ports(const VmConfig& config) {
  return (config.net == Net::kUser || config.net == Net::kPasst) && !config.published.empty();
}

std::string interface(const VmConfig& config) {
  if (config.net == Net::kNone || has_ports(config)) return {};
  const std::string model = str_cat("      <mac address='", mac_address(config.machine_id),
                                    "'/>\n      <model type='virtio'/>\n    </interface>\n");
  if (config.net == Net::kTap) {
    return str_cat("    <interface type='ethernet'>\n      <target dev='", escape(config.tap),
                   "' managed='no'/>\n", model);
  }
  return "    <interface type='user'>\n" + model;
}

constexpr std::string_view kQemuNamespace = " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'";
/// A slot that libvirt gives to nothing of ours.
constexpr std::string_view kPortsDevice = "virtio-net-pci,netdev=net,romfile=,bus=pcie.0,addr=0x10,mac=";

std::string qemu_arguments(const VmConfig& config) {
  if (!has_ports(config)) return {};
  std::string arguments = "  <qemu:commandline>\n";
  for (const std::string& argument :
       {std::string("-netdev"), user_netdev_argument(config), std::string("-device"),
        str_cat(kPortsDevice, mac_address(config.machine_id))}) {
    arguments += str_cat("    <qemu:arg value='", escape(argument), "'/>\n");
  }
  return arguments + "  </qemu:commandline>\n";
}

std::string boot(const VmConfig& config, const std::string& command_line) {
  const Architecture& architecture = architecture_of(config);
  std::string os =
      str_cat("  <os>\n    <type arch='", architecture.libvirt, "' machine='", architecture.machine,
              "'>hvm</type>\n    ", element("kernel", config.vmlinuz.string()), "\n");
  if (!config.initrd.empty()) os += str_cat("    ", element("initrd", config.initrd.string()), "\n");
  return str_cat(os, "    ", element("cmdline", command_line), "\n  </os>\n");
}

std::string features(const VmConfig& config) {
  const std::string_view wanted = architecture_of(config).libvirt_features;
  return wanted.empty() ? std::string() : str_cat("  <features>", wanted, "</features>\n");
}

}  // namespace

std::filesystem::path volume_socket(const std::filesystem::path& root_socket, std::size_t number) {
  return str_cat(root_socket.string(), '.', volume_tag(number));
}

Result<std::string> libvirt_domain_xml(const VmConfig& config, const std::filesystem::path& virtiofs_socket) {
  LB_ASSIGN(const std::string command_line, kernel_command_line(config));
  const bool kvm = config.accel == Accel::kKvm;
  std::string xml =
      str_cat("<domain type='", kvm ? "kvm" : "qemu", "'", has_ports(config) ? kQemuNamespace : "", ">\n  ",
              element("name", config.name), "\n  ", element("uuid", uuid_of(config.machine_id)),
              "\n  <memory unit='b'>", config.memory_bytes, "</memory>\n");
  // The daemon reads and writes the guest's memory.
  if (!config.disk_root)
    xml += "  <memoryBacking>\n    <source type='memfd'/>\n    <access mode='shared'/>\n  </memoryBacking>\n";
  xml += str_cat("  <vcpu>", config.cpus, "</vcpu>\n", boot(config, command_line));
  xml += str_cat(features(config), "  <cpu mode='", kvm ? "host-passthrough" : "maximum",
                 "'/>\n  <clock offset='utc'/>\n",
                 "  <on_poweroff>destroy</on_poweroff>\n  <on_reboot>restart</on_reboot>\n",
                 "  <on_crash>destroy</on_crash>\n  <devices>\n", storage(config, virtiofs_socket),
                 interface(config));
  return xml +
         "    <serial type='pty'/>\n    <console type='pty'/>\n    <rng model='virtio'>\n"
         "      <backend model='random'>/dev/urandom</backend>\n    </rng>\n"
         "    <controller type='usb' model='none'/>\n    <memballoon model='none'/>\n  "
         "</devices>\n" +
         qemu_arguments(config) + "</domain>\n";
}

}  // namespace layerboot::launcher
