// The mounts that this process sees.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot {

struct MountPoint {
  std::string path;
  std::string type;  // "ext4", "tmpfs"
  bool read_only = false;
  bool unbindable = false;

  bool operator==(const MountPoint&) const = default;
};

/// Of the text of /proc/PID/mountinfo (proc(5)), in its order; lines that are none are left out. Pure.
std::vector<MountPoint> parse_mount_list(std::string_view text);

Result<std::vector<MountPoint>> own_mounts();

}  // namespace layerboot
