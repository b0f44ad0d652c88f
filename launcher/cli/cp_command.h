// `layerboot cp`: copies files into a running VM and out of it, by its agent.
#pragma once

#include <string>

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// One end of a copy.
struct CopyEnd {
  std::string vm;    // empty: this machine
  std::string path;  // "-" of this machine: a tar on standard input or output

  bool operator==(const CopyEnd&) const = default;
};

/// `VM:PATH`, or a path here: one that has a ':' begins with '/' or '.'. Pure.
CopyEnd parse_copy_end(const std::string& text);

/// Gives 0, or 1 when something could not be copied and that has been said.
Result<int> copy_files(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
