// Whether the qcow2 that a guest's QEMU has written leads anywhere but to its base.
#pragma once

#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Reads the header of `overlay` alone, a fixed number of bytes, and believes nothing in it. EPERM with what
/// it says where QEMU would open more by it than `base`: another backing file, an external data file, or what
/// a feature that make_overlay() does not use may be. To be asked before each start: QEMU opens files with
/// our rights, and code in the last one could write the header. ETXTBSY where somebody has `overlay` open for
/// writing, who could do so after the check as well, as far as its file system can tell. REQUIRES: this
/// process has not.
Result<void> check_overlay(const std::filesystem::path& overlay, const std::filesystem::path& base);

}  // namespace layerboot::launcher
