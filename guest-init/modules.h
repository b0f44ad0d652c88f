// Loads the initrd's modules for the devices there are.
#pragma once

#include <set>
#include <string>

#include "guest-init/module_index.h"

namespace guest_init {

/// Not thread-safe; there are no threads here.
class ModuleLoader {
 public:
  /// Looking at the devices again after a driver made new ones; a device tree is never this deep.
  static constexpr int kMaxRounds = 8;

  /// Reads the index of the running kernel's modules in the initrd. A kernel that needs none has none: not an
  /// error.
  ModuleLoader();

  /// Loads what serves `alias` (a modalias, or fs-NAME), dependencies first. False when a file would not
  /// load; what nothing serves is built in, or not needed.
  bool load(const std::string& alias);

  /// Loads the drivers of all devices, until no new device appears.
  void load_for_devices();

  [[nodiscard]] int loaded() const { return loaded_; }

 private:
  std::string directory_;
  ModuleIndex index_;
  std::set<std::string> tried_files_;
  std::set<std::string> seen_devices_;
  int loaded_ = 0;
};

/// Shows the running kernel's modules, which the launcher puts below /usr/lib, in /lib as well, in an image
/// whose /lib is a directory of its own. REQUIRES: / is the image's root.
void link_modules();

/// Loads the module `name` and what it needs out of /lib/modules of the directory `root`, where it is and is
/// not built in or loaded already.
void load_module_of_root(int root, const std::string& name);

}  // namespace guest_init
