// Volumes that are kept by us, under a name: VOLUMES/NAME of the data directory, an ordinary directory.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/vm/run_settings.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct NamedVolume {
  std::string name;
  std::filesystem::path path;
  std::vector<std::string> vms;  // that have it, running or not
};

/// EINVAL for what can't name one: as a VM's name.
Result<void> check_volume_name(std::string_view name);

/// Makes those that `settings` names and that are not there, and notes where they are.
Result<void> settle_named_volumes(const StateDirs& dirs, RunSettings& settings);

/// EEXIST when it is there.
Result<void> create_named_volume(const StateDirs& dirs, const std::string& name);
/// By name. A VM's record that can't be read is an Error: what it has is not known.
Result<std::vector<NamedVolume>> list_named_volumes(const StateDirs& dirs);
/// ENOENT without one, EBUSY when a VM has it.
Result<void> remove_named_volume(const StateDirs& dirs, const std::string& name);

}  // namespace layerboot::launcher
