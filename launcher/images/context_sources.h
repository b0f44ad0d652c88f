// What the sources of a COPY are in a build's context, or in an image that is mounted.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "launcher/images/context_ignore.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct ContextSource {
  std::string name;                // as it is in the context
  std::filesystem::path real;      // at the end of its symlinks
  std::filesystem::path relative;  // that, in the context
};

/// By the components of their paths, with *, ? and [; names come in the order of their bytes. What the
/// context's ignore file leaves out is not there. ENOENT where nothing fits one; EINVAL for one that leads
/// out of the context, by symlinks too.
Result<std::vector<ContextSource>> sources_in(const BuildContext& context,
                                              const std::vector<std::string>& wanted);

/// In the order of their bytes; those before `error`, where there is one.
std::vector<std::string> names_in(const std::filesystem::path& directory, std::error_code& error);

}  // namespace layerboot::launcher
