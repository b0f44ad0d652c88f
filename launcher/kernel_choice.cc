#include "launcher/kernel_choice.h"

#include "launcher/programs.h"

namespace layerboot::launcher {

Result<Kernel> kernel_for(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const auto guest_init, find_guest_init(options.guest_init));
  return prepare_kernel(dirs, options.kernel, guest_init);
}

}  // namespace layerboot::launcher
