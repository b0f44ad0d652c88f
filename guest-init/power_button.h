// The machine's power button, heard where no init of the image does.
#pragma once

#include <poll.h>

#include <vector>

#include "guest-init/fd.h"

namespace guest_init {

class PowerButton {
 public:
  /// Loads the modules button and evdev out of the image root's /lib/modules, where the VM layer has put
  /// them, and opens every input device that has a power key. `root`: the image's root directory.
  void open(int root);

  void add_polls(std::vector<pollfd>& polls) const;
  /// Whether it was pressed since the last call.
  bool pressed();

 private:
  std::vector<Fd> devices_;
};

}  // namespace guest_init
