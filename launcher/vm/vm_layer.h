// The VM layer: the small read-only layer between the image and the upper directory that makes a container
// image at home in a virtual machine, without a change to the image.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/vm/vm_config.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// A further file of the layer, as somebody asked for it.
/// Where networkd finds the unit for the VM's cards.
inline constexpr std::string_view kNetworkUnitPath = "/etc/systemd/network/80-layerboot.network";

struct LayerFile {
  std::string path;  // in the image, absolute
  std::string content;
  unsigned mode = 0644;
};

/// The layer as a plain tar: host name, hosts, machine-id, resolver and network unit, and whiteouts for the
/// files by which a container knows itself. The same VM gives the same bytes. `files` come last.
Result<std::string> vm_layer_tar(const VmConfig& config, const std::vector<LayerFile>& files = {});

/// Whether `path` ("/etc/hosts") is one of the image's configuration files that the layer brings to every VM,
/// and that so say nothing about the image.
[[nodiscard]] bool is_of_every_vm(std::string_view path);

/// The name of the systemd unit that mounts `path`, as systemd-escape(1) makes it.
std::string mount_unit_name(std::string_view path);

/// Writes the layer to `path`, unless it is there already with these bytes: an unchanged file keeps the
/// index that was made of it.
Result<void> write_vm_layer(const VmConfig& config, const std::filesystem::path& path,
                            const std::vector<LayerFile>& files = {});

}  // namespace layerboot::launcher
