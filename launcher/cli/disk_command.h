// `layerboot disk`: an image as a disk file, to take elsewhere.
#pragma once

#include <filesystem>

#include "launcher/cli/options.h"
#include "launcher/disk/disk_build.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Writes options.output, whole or not at all. EEXIST when it is there. REQUIRES: the main thread.
Result<void> make_disk(const StateDirs& dirs, const Options& options);

/// A qcow2 `out` with what the raw disk has. REQUIRES: as run_tool().
Result<void> as_qcow2(const std::filesystem::path& raw, const std::filesystem::path& out, bool compressed);

/// What both `disk` and a VM's root are made by.
Result<DiskPlan> disk_plan(const Options& options, std::uint64_t size_bytes);

}  // namespace layerboot::launcher
