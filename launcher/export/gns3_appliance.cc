#include "launcher/export/gns3_appliance.h"

#include <nlohmann/json.hpp>

#include "launcher/disk/disk_build.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using Json = nlohmann::ordered_json;

/// The same for the same appliance, so that an import of a newer one replaces the older; the nodes that there
/// are keep their disk, whose name tells its content. A UUID of version 8 (RFC 9562).
std::string uuid_of(std::string_view text) {
  const auto digest = store::digest_of(store::HashAlgorithm::kSha256, as_bytes(text));
  std::string hex = digest ? digest->hex() : std::string(64, '0');
  hex[12] = '8';
  hex[16] = 'a';
  return str_cat(hex.substr(0, 8), '-', hex.substr(8, 4), '-', hex.substr(12, 4), '-', hex.substr(16, 4), '-',
                 hex.substr(20, 12));
}

Json file_json(const ApplianceFile& file, const std::string& version) {
  return {
      {"filename", file.filename}, {"version", version}, {"md5sum", file.md5}, {"filesize", file.size_bytes}};
}

std::string usage_text(const Gns3Appliance& appliance) {
  return str_cat(
      "The console is the machine's serial line; a system with a login asks for it there, a plain image runs "
      "its "
      "command. ",
      appliance.dhcp ? "The first adapter asks for an address by DHCP. "
                     : "No adapter is given an address: configure them in the guest, where it is kept. ",
      "Everything written is kept. Stopping the node presses the power button (ACPI) and gives the guest two "
      "minutes. To "
      "get into a guest that does not come up, add 'single' (a shell before the root is mounted) or "
      "'init=/bin/sh' to "
      "the kernel command line.");
}

/// What both versions have of the machine.
Json machine_json(const Gns3Appliance& appliance) {
  Json machine = {{"adapter_type", "virtio-net-pci"},
                  {"adapters", appliance.adapters},
                  {"ram", appliance.memory_bytes >> 20},
                  {"cpus", appliance.cpus},
                  {"hda_disk_interface", appliance.disk_interface}};
  if (appliance.modules) machine["hdb_disk_interface"] = appliance.disk_interface;
  machine["console_type"] = "telnet";
  machine["kernel_command_line"] = gns3_command_line(appliance);
  // The node's name is the host's.
  machine["options"] = "-device virtio-rng-pci -fw_cfg name=opt/layerboot/hostname,string=%vm-name%";
  machine["on_close"] = "shutdown_signal";
  return machine;
}

Json version_images(const Gns3Appliance& appliance) {
  Json images = {{"hda_disk_image", appliance.root.filename},
                 {"kernel_image", appliance.kernel.filename},
                 {"initrd", appliance.initrd.filename}};
  if (appliance.modules) images["hdb_disk_image"] = appliance.modules->filename;
  return images;
}

Json head_json(const Gns3Appliance& appliance, unsigned registry_version) {
  return {{"appliance_id", uuid_of(str_cat("gns3 ", appliance.name))},
          {"name", appliance.name},
          {"category", appliance.category},
          {"description", str_cat("Made of the container image ", appliance.image, " by Layerboot.")},
          {"vendor_name", "Layerboot"},
          {"vendor_url", "https://opencontainers.org"},
          {"product_name", appliance.name},
          {"registry_version", registry_version},
          {"status", "experimental"},
          {"maintainer", "Whoever made it"},
          {"maintainer_email", "root@localhost"},
          {"usage", usage_text(appliance)},
          {"symbol", appliance.symbol}};
}

Json images_json(const Gns3Appliance& appliance) {
  Json images = Json::array();
  for (const auto* file : {&appliance.root, &appliance.kernel, &appliance.initrd})
    images.push_back(file_json(*file, appliance.version));
  if (appliance.modules) images.push_back(file_json(*appliance.modules, appliance.version));
  return images;
}

Json version_4(const Gns3Appliance& appliance) {
  Json json = head_json(appliance, 4);
  json["port_name_format"] = "eth{0}";
  json["linked_clone"] = true;
  Json machine = machine_json(appliance);
  machine["arch"] = "x86_64";
  machine["kvm"] = appliance.kvm;
  json["qemu"] = std::move(machine);
  json["images"] = images_json(appliance);
  json["versions"] = Json::array({{{"name", appliance.version}, {"images", version_images(appliance)}}});
  return json;
}

Json version_8(const Gns3Appliance& appliance) {
  constexpr const char* kSettings = "default";
  Json json = head_json(appliance, 8);
  Json machine = machine_json(appliance);
  machine["platform"] = "x86_64";
  machine["port_name_format"] = "eth{0}";
  machine["linked_clone"] = true;
  // There is no other word for it: the server looks for this one.
  if (appliance.kvm == "disable")
    machine["options"] = str_cat("-machine accel=tcg ", machine["options"].get<std::string>());
  json["settings"] = Json::array({{{"name", kSettings},
                                   {"default", true},
                                   {"template_type", "qemu"},
                                   {"template_properties", std::move(machine)}}});
  json["images"] = images_json(appliance);
  json["versions"] = Json::array(
      {{{"name", appliance.version}, {"settings", kSettings}, {"images", version_images(appliance)}}});
  return json;
}

}  // namespace

unsigned max_adapters(std::string_view disk_interface) {
  // Tried with QEMU: at 91 on IDE the server's bridges are one more than there are slots for.
  return disk_interface == "ide" ? 90 : 26;
}

Result<void> check_machine(const Gns3Machine& machine, unsigned registry_version) {
  const unsigned most = max_adapters(machine.disk_interface);
  if (machine.adapters > most)
    return fail(
        EINVAL, "--adapters ", machine.adapters, ": GNS3's machine has PCI slots for ", most,
        " beside disks by ", machine.disk_interface,
        most < max_adapters("ide") ? str_cat(" (--disk-interface ide: ", max_adapters("ide"), ')') : "");
  if (machine.kvm == "require" && registry_version == 8)
    return fail(EINVAL,
                "--kvm require: an appliance of registry version 8 can't say that: leave it out, or "
                "take --version 4");
  return {};
}

std::string gns3_command_line(const Gns3Appliance& appliance) {
  // By their labels: which of two SCSI or SATA disks is sda is decided anew at each boot (the kernel's
  // drivers/scsi/sd.c probes asynchronously). The names of adapters are those of GNS3's ports, whatever udev
  // would call them.
  std::string line = str_cat("console=ttyS0 rootfstype=ext4 root=LABEL=", kRootDiskLabel,
                             " rw net.ifnames=0 biosdevname=0 no_timer_check quiet loglevel=4");
  if (appliance.modules) line += str_cat(" layerboot.modules=LABEL=", kModulesDiskLabel);
  line +=
      appliance.dhcp ? " layerboot.net=dhcp,up systemd.wants=systemd-networkd.service" : " layerboot.net=up";
  if (!appliance.kernel_append.empty()) line += str_cat(' ', appliance.kernel_append);
  return line;
}

Result<std::string> gns3_appliance_json(const Gns3Appliance& appliance, unsigned registry_version) {
  if (registry_version != 4 && registry_version != 8)
    return fail(EINVAL, "GNS3's registry version ", registry_version, ": 4 and 8 can be made");
  const Json json = registry_version == 4 ? version_4(appliance) : version_8(appliance);
  return store::json_text(json, 4) + "\n";
}

Result<void> check_bzimage(std::string_view bytes) {
  // Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
  constexpr std::size_t kHeaderOffset = 0x202;
  if (bytes.size() > kHeaderOffset && bytes.substr(kHeaderOffset).starts_with("HdrS")) return {};
  return fail(EINVAL, "the kernel is no bzImage, and GNS3 takes no other: use a kernel package's vmlinuz");
}

}  // namespace layerboot::launcher
