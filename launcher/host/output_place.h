// What stands where a person has named a file for an output, and bytes on their way there.
#pragma once

#include <filesystem>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Of the two one is there.
struct OutputPlace {
  /// Where a file is to appear, or replaces the regular one that is there: at the end of symlinks.
  std::filesystem::path file;
  /// Is no regular file, and is written to as standard output is: a device, a FIFO, or a descriptor that this
  /// process has been given (/dev/stdout, /dev/fd/3).
  UniqueFd stream;
};

/// Of a FIFO, waits until somebody reads it: EINTR within an InterruptScope. EISDIR for a directory.
Result<OutputPlace> open_output(const std::filesystem::path& path);

/// Reads to the end of `from`, each where it is, also where they are slow: EINTR within an InterruptScope.
Result<void> copy_stream(int from, int to);

}  // namespace layerboot::launcher
