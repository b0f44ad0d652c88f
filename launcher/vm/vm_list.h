// What VMs there are, and what each does.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "launcher/vm/control_client.h"
#include "launcher/vm/last_run.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct VmView {
  std::string name;
  VmPaths paths;
  Result<VmRecord> record;          // an Error when it can't be read
  std::optional<LastRun> last_run;  // none: it never ran, or nobody can tell
  nlohmann::json live;              // the supervisor's status; null when nobody runs the VM

  /// "running", "starting", "stopping", "serving", "unknown" (its supervisor does not answer), "stopped".
  [[nodiscard]] std::string state() const;
  [[nodiscard]] bool is_live() const { return !live.is_null(); }
};

/// ENOENT, with where to look, when there is no such VM. Asks the supervisor; changes nothing.
Result<VmView> look_at_vm(const StateDirs& dirs, const std::string& name);

/// Whoever runs the VM, to be talked to; none when nobody does. Between two runs of a VM that is started
/// again nobody listens for a moment, though its lock is held: EBUSY when that is so after `patience`, too,
/// as where another command works on a VM that does not run.
Result<std::optional<ControlClient>> supervisor_of(
    const VmPaths& paths, std::chrono::milliseconds patience = std::chrono::seconds(5));

/// Of all, sorted.
Result<std::vector<std::string>> vm_names(const StateDirs& dirs);
/// All, by name.
Result<std::vector<VmView>> list_vms(const StateDirs& dirs);

}  // namespace layerboot::launcher
