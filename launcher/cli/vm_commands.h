// layerboot's commands about VMs that exist.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// A line a VM, or one JSON document.
Result<void> list_vms_command(const StateDirs& dirs, const Options& options);
/// One JSON document: an array with an object for each name.
Result<void> inspect_vms(const StateDirs& dirs, const Options& options);

// These take several names: each is tried; 1 when one failed, having said why. What was done is printed by
// name.
Result<int> stop_vms(const StateDirs& dirs, const Options& options);
Result<int> kill_vms(const StateDirs& dirs, const Options& options);
Result<int> remove_vms(const StateDirs& dirs, const Options& options);
Result<int> reset_vms(const StateDirs& dirs, const Options& options);

/// Starts each as start_vm() does; one that is attached to is the only one.
Result<int> start_vms(const StateDirs& dirs, const Options& options);
/// Stops each and starts it as `start` does. Of a VM that does not run it is a start.
Result<int> restart_vms(const StateDirs& dirs, const Options& options);
/// Prints how each ended, or, of one that does not run, had ended: its exit status.
Result<int> wait_for_vms(const StateDirs& dirs, const Options& options);
/// EBUSY while it runs, EEXIST for a name that another VM has.
Result<void> rename_vm(const StateDirs& dirs, const Options& options);

/// One VM, which is killed first where it runs. Fine when there is none.
Result<void> remove_vm(const StateDirs& dirs, const std::string& name);

/// Powers one off as `stop` does; nothing to do when it does not run. What its last run notes to have gone
/// wrong, as where the guest had to be cut off; empty when nothing has. An Error: it still runs.
Result<std::string> power_off_vm(const StateDirs& dirs, const std::string& name,
                                 std::optional<std::uint64_t> seconds);

Result<void> resize_vm(const StateDirs& dirs, const Options& options);

/// Prints the console's log, and goes on with what is said if asked to.
Result<void> show_logs(const StateDirs& dirs, const Options& options);
/// Joins standard input and output to the console, until the person leaves or the VM ends.
Result<void> join_console(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
