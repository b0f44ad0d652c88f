// A VM as a service of systemd's.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/vm/run_settings.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct SystemdService {
  std::string name;                  // the VM's
  std::string image;                 // as its record has it
  std::filesystem::path layerboot;   // the program, absolute
  std::vector<std::string> options;  // of `layerboot start`
  StateDirs dirs;                    // where the VM is
  bool is_user = false;              // for a user's own systemd, which can't take anything away from it
  RunSettings run;                   // as the VM was run
};

/// The unit, pure. It runs `layerboot start --attach`; stopped by SIGTERM to that alone, which powers the
/// guest off in order, and with more time for it than the launcher itself allows. Follows systemd.service(5)
/// and systemd.exec(5) of systemd 252. EINVAL for a path that none can name.
[[nodiscard]] Result<std::string> systemd_unit(const SystemdService& service);

}  // namespace layerboot::launcher
