// Which kind of upper a run has.
#pragma once

#include "launcher/cli/options.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// The options with options.upper as this VM has it, or as it was asked for. EINVAL when that does not go
/// with what the VM has written, or with the other options.
Result<Options> with_upper(const VmDirectory& directory, const Options& options);

}  // namespace layerboot::launcher
