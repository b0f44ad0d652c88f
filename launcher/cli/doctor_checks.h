// What `layerboot doctor` looks at, one function each.
#pragma once

#include <string>
#include <vector>

#include "launcher/host/architecture.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

enum class Health {
  kGood,
  kLess,     // VMs run, less well, or something else is missing
  kMissing,  // no VM runs
};

struct Finding {
  std::string subject;  // "io_uring"
  Health health = Health::kGood;
  std::string detail;
  std::string remedy;  // empty when there is nothing to do
};

// Each looks by trying, changes nothing, and takes no longer than a moment.
Finding check_io_uring();
Finding check_memlock();
/// Whether a control group bounds what a VM's processes may take that were taken over.
Finding check_memory_bound();
Finding check_user_namespaces();
/// Whether root's QEMU can be kept apart from this host's network.
Finding check_network_namespace();
Finding check_fuse();
Finding check_state(const StateDirs& dirs);
Finding check_runtime(const StateDirs& dirs);
/// Whether other users of this host get at what may be private.
Finding check_privacy(const StateDirs& dirs);
/// What follows from QEMU's version, as `qemu --version` prints it.
Finding check_qemu_version(const std::string& version);
/// A program that one command needs.
Finding check_tool(const std::string& name, const std::string& purpose, const std::string& remedy);

/// Whether a machine of another architecture can be emulated here.
Finding check_foreign_machine(const Architecture& architecture);
/// Which other architectures' programs a guest can run (--binfmt).
Finding check_foreign_programs();

/// Columns for a person, with each remedy below its line.
std::string findings_text(const std::vector<Finding>& findings);
std::string findings_json(const std::vector<Finding>& findings);

}  // namespace layerboot::launcher
