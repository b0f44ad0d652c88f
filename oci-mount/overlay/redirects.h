// Redirects: which object of the image one of the upper stands for. Follows overlayfs's redirect_dir and
// metacopy (Documentation/filesystems/overlayfs.rst of Linux). Functions of a tree and one place on the host.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/upper_calls.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::overlay {

/// The row at an absolute path, no symlink followed; kNoNode where there is none.
[[nodiscard]] tree::NodeId row_at(const tree::Tree& tree, std::string_view path);

/// A name in a directory that merges with the row `directory`, or with none (kNoNode).
struct MergedName {
  const tree::Tree& tree;
  tree::NodeId directory;
  std::string_view name;
};

/// The row that it stands for: where its redirect leads, or its namesake below; kNoNode where there is none.
[[nodiscard]] tree::NodeId lower_named(const MergedName& merged, const std::optional<std::string>& redirect);

/// The row that the directory at `place`, which has that name, merges with; kNoNode where with none.
Result<tree::NodeId> merged_lower(const MergedName& merged, const Marks& marks, Place place);

/// The row that has the data of the regular file at `place`; kNoNode where that has its own. An old mark is
/// removed. EIO where its data is nowhere.
Result<tree::NodeId> metacopy_source(const MergedName& merged, const Marks& marks, Place place,
                                     const struct stat& st);

}  // namespace layerboot::overlay
