// What whoever started a program left open beside the standard streams: a shell's lock, a directory, the pipe
// of <(…). It is ours to use as long as we do what was asked for, by whom it was.
#pragma once

#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot {

/// The descriptors that are open, by the list that the kernel keeps, in no order.
Result<std::vector<int>> open_descriptors();

/// Notes what is open. Call first in main(), before anything is opened.
void note_inherited_descriptors();

/// Closes what was noted, once: for a process that stays when its caller has got its answer, and would hold
/// on to a lock or a pipe for somebody who takes it for given back. Nobody else may have closed any of it.
void close_inherited_descriptors();

}  // namespace layerboot
