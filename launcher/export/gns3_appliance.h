// An image as an appliance for GNS3: a machine that QEMU starts with its kernel from outside, described in a
// .gns3a.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// A file beside the description, as GNS3 finds it again.
struct ApplianceFile {
  std::string filename;
  std::string md5;  // 32 hexadecimal digits
  std::uint64_t size_bytes = 0;
};

/// What may be chosen of it.
struct Gns3Machine {
  std::string category = "guest";
  std::string symbol = "linux_guest.svg";
  std::string disk_interface = "virtio";  // virtio, scsi, sata or ide
  std::string kvm = "allow";              // allow, require or disable
  unsigned adapters = 1;
  std::uint64_t memory_bytes = std::uint64_t{512} << 20;
  unsigned cpus = 1;
  bool dhcp = false;  // the first adapter gets its address so; otherwise none is given any
};

struct Gns3Appliance : Gns3Machine {
  std::string name;
  std::string image;          // what it was made of, for the description
  std::string version;        // of the image: its tag
  std::string kernel_append;  // further kernel arguments; may be empty
  ApplianceFile root;         // a qcow2
  ApplianceFile kernel;       // a bzImage
  ApplianceFile initrd;
  std::optional<ApplianceFile> modules;  // a qcow2
};

/// With `dhcp`, where networkd has the cards: the unit for the first one, by the name that net.ifnames=0
/// leaves it; at kNetworkUnitPath (vm_layer.h).
inline constexpr const char* kGns3NetworkUnit = "[Match]\nName=eth0\n\n[Network]\nDHCP=yes\n";

/// How many adapters a GNS3 server can give a machine with these disks and this one's further device: on its
/// PC a disk that is not IDE takes a PCI slot, and the server's own count, by which it adds bridges, leaves
/// out all such.
[[nodiscard]] unsigned max_adapters(std::string_view disk_interface);

/// EINVAL for more adapters than that, and for what registry version `version` has no word for.
Result<void> check_machine(const Gns3Machine& machine, unsigned registry_version);

/// The kernel's command line of the appliance, pure.
[[nodiscard]] std::string gns3_command_line(const Gns3Appliance& appliance);

/// The .gns3a, pure: JSON with its members in the order of GNS3's registry. `registry_version` 4 is what
/// every GNS3 from 2.0 on takes; 8 (2.2.43 and later) has its settings in sets. EINVAL for another one.
/// Follows schemas/appliance_v4.json and appliance_v8.json of GNS3/gns3-registry.
Result<std::string> gns3_appliance_json(const Gns3Appliance& appliance, unsigned registry_version);

/// EINVAL unless `bytes`, the begin of a file, are a bzImage: GNS3 takes an ELF for a program of IOU.
Result<void> check_bzimage(std::string_view bytes);

}  // namespace layerboot::launcher
