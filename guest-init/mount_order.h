// In which order what the VM mounts into its root is mounted: one inside another after that one. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest-init/cmdline.h"

namespace guest_init {

struct MountStep {
  std::string path;            // absolute, without '.', '..' or doubled slashes
  std::optional<Share> share;  // none: a tmpfs
  std::string tmpfs_options;
};

/// `path` without '.', '..' and doubled slashes, as an absolute one. No file system is asked.
[[nodiscard]] std::string plain_path(std::string_view path);

/// By the depth of their places, as container engines have it; those of one depth as they were given, shares
/// first. `tmpfs`: PATH[:OPTIONS] each.
[[nodiscard]] std::vector<MountStep> in_mount_order(const std::vector<Share>& shares,
                                                    const std::vector<std::string>& tmpfs);

}  // namespace guest_init
