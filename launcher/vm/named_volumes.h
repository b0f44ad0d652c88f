// Volumes that are kept by us, under a name: VOLUMES/NAME of the data directory, an ordinary directory.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/vm/run_settings.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/lease.h"

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

/// Keeps those of `settings`, which are settled, from being removed for as long as they are held: what a run
/// has is in no record before it has come up, or at all where it leaves the VM's alone. ENOENT for one that
/// was removed meanwhile.
Result<std::vector<store::Lease>> hold_named_volumes(const RunSettings& settings);

/// EEXIST when it is there.
Result<void> create_named_volume(const StateDirs& dirs, const std::string& name);
/// By name. A VM's record that can't be read is an Error: what it has is not known.
Result<std::vector<NamedVolume>> list_named_volumes(const StateDirs& dirs);
/// ENOENT without one, EBUSY when a VM has it, or a run holds it.
Result<void> remove_named_volume(const StateDirs& dirs, const std::string& name);

}  // namespace layerboot::launcher
