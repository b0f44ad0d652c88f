// Loads the initrd's modules for the devices there are.
#pragma once

#include <array>
#include <set>
#include <string>
#include <vector>

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

/// Has the image's depmod(8) write the index of the running kernel's modules anew, where the image has
/// brought modules of its own (DKMS, a build out of tree) that the launcher's index, which lies over the
/// image's, does not know; a word where it has no such program. REQUIRES: / is the image's root.
void index_modules_of_image();

/// Where those lie, in the modules directory.
inline constexpr std::array<const char*, 3> kPlacesOfMore = {"updates", "extra", "weak-updates"};
/// Those of kPlacesOfMore in `directory`, with a '/' at its end, that hold modules of which its index knows
/// none.
[[nodiscard]] std::vector<std::string> places_without_index(const std::string& directory);

/// Loads the module `name` and what it needs out of /lib/modules of the directory `root`, where it is and is
/// not built in or loaded already.
void load_module_of_root(int root, const std::string& name);

}  // namespace guest_init
