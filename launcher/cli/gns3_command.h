// `layerboot export gns3`: an image as an appliance.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Writes the appliance's files into options.output, which is made: NAME.qcow2 and NAME.gns3a whole or not at
/// all; kernel, initrd and modules once for all appliances of that kernel, by names that tell their content.
/// EEXIST where NAME.gns3a or NAME.qcow2 is there. REQUIRES: the main thread.
Result<void> export_gns3(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
