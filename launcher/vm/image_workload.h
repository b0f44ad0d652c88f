// What an image says is to be run in a VM of it.
#pragma once

#include <string_view>

#include "guest-init/workload.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

/// Entrypoint, command, environment, user, directory and stop signal of the image's configuration. An error
/// is open_image()'s; E2BIG when the configuration has more of them than the guest takes.
Result<guest_init::ImageWorkload> image_workload(const StateDirs& dirs, std::string_view image,
                                                 const store::Platform& platform = store::host_platform());

}  // namespace layerboot::launcher
