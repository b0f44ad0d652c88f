// Which descriptors the daemon has.
#pragma once

#include <sys/resource.h>

#include <span>

#include "oci-mount/base/result.h"

namespace layerboot::vfsd {

/// Closes what who started us left open, but for `kept` (negative: none), which programs started by us do not
/// get. Standard input becomes /dev/null. Call before anything is opened, after open_closed_streams().
Result<void> close_stray_descriptors(std::span<const int> kept);

/// Lowers RLIMIT_NOFILE, which is on numbers, to what is open and `room` more; raises it to the hard limit at
/// most for `more` beside that.
Result<void> limit_descriptors(rlim_t room, rlim_t more);

}  // namespace layerboot::vfsd
