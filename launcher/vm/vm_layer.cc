#include "launcher/vm/vm_layer.h"

#include <cctype>

#include "launcher/vm/tar_writer.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxLayerBytes = std::size_t{4} << 20;

// The resolver of QEMU's user network (-netdev user,dns=), which passt is told to imitate.
constexpr std::string_view kUserNetResolver = "nameserver 10.0.2.3\n";

// By name, not by Type=ether: that would also take the bridges and veth pairs of a container engine in the
// VM.
constexpr std::string_view kNetworkUnit =
    "[Match]\n"
    "Name=en* eth*\n"
    "\n"
    "[Network]\n"
    "DHCP=yes\n";

// What the supervisor looks for on the console, whose name follows.
constexpr std::string_view kTimingUnit =
    "[Unit]\n"
    "Description=Say that the system is up\n"
    "After=multi-user.target\n"
    "\n"
    "[Service]\n"
    "Type=oneshot\n"
    "ExecStart=/bin/sh -c 'echo layerboot: timing: system up >/dev/";

// With our modules there, systemd runs kmod, which an image need not have.
constexpr std::string_view kKmodDropIn =
    "[Unit]\n"
    "ConditionFileIsExecutable=|/bin/kmod\n"
    "ConditionFileIsExecutable=|/usr/bin/kmod\n";

// On a machine that emulates too much at once udev takes more than the 90 s after which systemd gives up the
// console's prompt, for good.
constexpr std::string_view kConsoleDropIn = "[Unit]\nJobRunningTimeoutSec=15min\n";

// systemd's own line (serial-getty@.service), and who is logged in.
constexpr std::string_view kAutologinDropIn =
    "[Service]\n"
    "ExecStart=\n"
    "ExecStart=-/sbin/agetty -o '-p -f -- \\\\u' --autologin root --keep-baud 115200,57600,38400,9600 - "
    "$TERM\n";

// What guest-init has mounted stays until the very end: udev keeps the modules' indexes open as long as it
// runs.
constexpr std::string_view kStaysDropIn = "[Unit]\nDefaultDependencies=no\n";

/// Where systemd 252 and later looks for it (systemd.system-credentials(7)): the guest's own sshd then lets
/// root in.
constexpr std::string_view kRootKeysCredential = "etc/credstore/ssh.authorized_keys.root";

/// The first card's routes and resolver go first.
std::string further_network_unit(const std::string& mac, std::size_t card) {
  constexpr std::size_t kFirstMetric = 1024;  // networkd's own
  return str_cat("[Match]\nMACAddress=", mac,
                 "\n\n[Network]\nDHCP=yes\n\n[DHCPv4]\nRouteMetric=", kFirstMetric + card,
                 "\nUseDNS=no\n\n[IPv6AcceptRA]\nRouteMetric=", kFirstMetric + card, "\n");
}

/// What systemd adds to `unit`, whoever else configures it.
Result<void> add_drop_in(TarWriter& tar, std::string_view unit, std::string_view text) {
  return tar.add_file(str_cat("etc/systemd/system/", unit, ".d/layerboot.conf"), text);
}

std::string hosts_file(std::string_view hostname, const std::vector<HostEntry>& further) {
  const std::string_view first_label = hostname.substr(0, hostname.find('.'));
  std::string text =
      str_cat("127.0.0.1 localhost\n127.0.1.1 ", hostname, first_label == hostname ? "" : " ",
              first_label == hostname ? "" : first_label,
              "\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n");
  for (const HostEntry& entry : further) text += str_cat(entry.address, ' ', entry.name, '\n');
  return text;
}

/// Empty: DHCP brings it.
std::string resolver_file(const VmConfig& config) {
  std::string text;
  for (const std::string& address : config.dns) text += str_cat("nameserver ", address, '\n');
  const bool known = config.net == Net::kUser || config.net == Net::kPasst;
  return text.empty() && known ? std::string(kUserNetResolver) : text;
}

/// guest-init has mounted them already, as a rule; on a kernel without our initrd, systemd does.
Result<void> add_mount_units(TarWriter& tar, const VmConfig& config) {
  if (config.volumes.empty()) return {};
  std::string wanted;
  for (std::size_t i = 0; i < config.volumes.size(); ++i) {
    const Volume& volume = config.volumes[i];
    const std::string unit = mount_unit_name(volume.guest);
    LB_TRY(tar.add_file(
        str_cat("etc/systemd/system/", unit),
        str_cat("[Unit]\nDescription=Volume ", volume.guest, "\nBefore=local-fs.target\n\n",
                "[Mount]\nWhat=", volume_tag(i), "\nWhere=", volume.guest,
                "\nType=virtiofs\nOptions=", volume.kind == VolumeKind::kReadOnly ? "ro" : "rw", "\n")));
    wanted += str_cat(' ', unit);
  }
  return add_drop_in(tar, "local-fs.target", str_cat("[Unit]\nWants=", wanted.substr(1), "\n"));
}

/// On a disk the kernel's modules and configuration are bound into the root (guest-init/disk_root.h).
Result<void> add_module_drop_ins(TarWriter& tar, const VmConfig& config) {
  for (const std::string_view place : {"usr/lib/modules/", "lib/modules/", "boot/config-"}) {
    LB_TRY(add_drop_in(tar, mount_unit_name(str_cat(place, config.kernel_release)), kStaysDropIn));
  }
  return {};
}

}  // namespace

bool is_of_every_vm(std::string_view path) {
  return path == "/etc/hostname" || path == "/etc/hosts" || path == "/etc/machine-id" ||
         path == "/etc/resolv.conf";
}

std::string mount_unit_name(std::string_view path) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  while (path.starts_with('/')) path.remove_prefix(1);
  std::string name;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    const auto byte = static_cast<unsigned char>(c);
    const bool kept = std::isalnum(byte) != 0 || c == '_' || c == ':' || (c == '.' && i > 0);
    if (c == '/') {
      name += '-';
    } else if (kept) {
      name += c;
    } else {
      name += str_cat("\\x", kDigits[byte >> 4U], kDigits[byte & 0x0fU]);
    }
  }
  return name + ".mount";
}

Result<std::string> vm_layer_tar(const VmConfig& config, const std::vector<LayerFile>& files) {
  const std::string hostname = config.hostname.empty() ? hostname_for(config.name) : config.hostname;
  const std::string_view console = architecture_of(config).console;
  TarWriter tar;
  LB_TRY(tar.add_file(".wh..dockerenv", ""));
  // For root alone: an image's environment may hold what nobody else is to know.
  LB_TRY(tar.add_file(std::string_view(guest_init::kWorkloadFile).substr(1),
                      guest_init::encode_workload(config.workload), 0600));
  LB_TRY(tar.add_file("etc/hostname", kernel_hostname(hostname) + "\n"));
  LB_TRY(tar.add_file("etc/hosts", hosts_file(hostname, config.hosts)));
  LB_TRY(tar.add_file("etc/machine-id", config.machine_id.empty() ? "" : config.machine_id + "\n", 0444));
  if (const std::string resolver = resolver_file(config); !resolver.empty()) {
    LB_TRY(tar.add_file("etc/resolv.conf", resolver));
  }
  if (config.net != Net::kNone) {
    LB_TRY(tar.add_file(kNetworkUnitPath.substr(1), kNetworkUnit));
    for (std::size_t i = 1; i <= config.more_nets.size(); ++i) {
      LB_TRY(tar.add_file(str_cat("etc/systemd/network/79-layerboot-net", i, ".network"),
                          further_network_unit(mac_address(config.machine_id, i), i)));
    }
  }
  LB_TRY(add_drop_in(tar, "kmod-static-nodes.service", kKmodDropIn));
  LB_TRY(add_drop_in(tar, str_cat("dev-", console, ".device"), kConsoleDropIn));
  if (config.autologin)
    LB_TRY(add_drop_in(tar, str_cat("serial-getty@", console, ".service"), kAutologinDropIn));
  LB_TRY(add_mount_units(tar, config));
  if (config.disk_root) LB_TRY(add_module_drop_ins(tar, config));
  if (!config.ssh_keys.empty()) LB_TRY(tar.add_file(kRootKeysCredential, authorized_keys(config), 0600));
  if (config.timing) {
    LB_TRY(tar.add_file("etc/systemd/system/layerboot-timing.service", str_cat(kTimingUnit, console, "'\n")));
  }
  LB_TRY(tar.add_file("run/.wh..containerenv", ""));
  for (const LayerFile& file : files) {
    const auto added = tar.add_file(std::string_view(file.path).substr(1), file.content, file.mode);
    if (!added) return while_doing(added.error(), "--volume ", file.path);
  }
  return tar.finish();
}

Result<void> write_vm_layer(const VmConfig& config, const std::filesystem::path& path,
                            const std::vector<LayerFile>& files) {
  LB_ASSIGN(const std::string tar, vm_layer_tar(config, files));
  if (const auto present = read_file(path, kMaxLayerBytes); present && *present == tar) return {};
  LB_ASSIGN(auto file, AtomicFile::create(path, 0600));
  LB_TRY(file.append(as_bytes(tar)));
  return file.commit();
}

}  // namespace layerboot::launcher
