// `oci-mount ls`: what is in an image, without mounting it.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::mount {

struct ListOptions {
  bool recursive = false;  // everything below, each with its path from where the listing starts
  bool details = false;  // as `ls -l`: mode, names, owner, group, size or device number, mtime in UTC, target
  bool escape = true;    // names through printable_whole()
};

/// Takes one line, with its newline; its error ends the listing.
using TakeLine = std::function<Result<void>(std::string_view)>;

/// Lists the directory at `path`, sorted by name as bytes, or the one thing there. A symlink to a directory
/// is followed unless details are asked for, as ls(1) does.
Result<void> list(const tree::Tree& tree, std::string_view path, const ListOptions& options,
                  const TakeLine& take);

/// "drwxr-xr-t" for an st_mode.
std::string mode_text(std::uint32_t mode);

}  // namespace layerboot::mount
