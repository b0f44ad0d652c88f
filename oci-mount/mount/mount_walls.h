// What a process shuts behind itself that serves an image read-only, since it decodes foreign bytes.
#pragma once

#include "oci-mount/base/io_engine.h"
#include "oci-mount/base/result.h"

namespace layerboot::mount {

/// For the calling thread and those to come: no rights of root, but for `opens_files` that to open any file.
Result<void> give_up_rights(bool opens_files);

/// From now on all threads have their descriptors, memory and each other; `opens_files`: openat2(2) as well,
/// for the files of a directory. Any other system call ends the process.
Result<void> allow_only_reading(IoEngine engine, bool opens_files);

}  // namespace layerboot::mount
