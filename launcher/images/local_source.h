// A file or directory of this machine as skopeo is to copy it: the image in it is chosen as open_image() does
// it, of which skopeo knows no nested indexes and other rules for variants, and what is compressed is
// unpacked by a process without rights.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

struct LocalSource {
  std::string text;  // as skopeo writes it, in the staging directory
  /// What its index says that it is for, where its config says something else.
  std::optional<store::Platform> said_platform = {};
};

struct LocalChoice {
  std::optional<store::Platform> platform = {};  // none: this machine's
  bool or_other = false;                         // where there is nothing for that, what there is
};

/// `text` is `dir:`, `oci:`, `oci-archive:` or `docker-archive:` with an absolute path; anything else comes
/// back as it is. What skopeo needs is put into `staging`, which goes with it. Errors are open_image()'s.
Result<LocalSource> prepare_source(const StateDirs& dirs, const std::string& text, const LocalChoice& choice,
                                   const std::filesystem::path& staging);

}  // namespace layerboot::launcher
