// Redirects: which object of the image one of the upper stands for. Follows overlayfs's redirect_dir and
// metacopy (Documentation/filesystems/overlayfs.rst of Linux). Functions of a tree and one place on the host;
// of an Overlay, under its lock, which also keeps LowerPaths.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/lower.h"
#include "oci-mount/overlay/lower_paths.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/upper_calls.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::overlay {

/// A name in a directory that merges with the row `directory`, or with none (kNoNode). What it refers to is
/// borrowed.
struct MergedName {
  const Lower& lower;
  LowerPaths& paths;
  tree::NodeId directory;
  std::string_view name;
};

/// What the directory at `place`, which has that name, merges with.
struct MergedLower {
  tree::NodeId row = tree::kNoNode;  // kNoNode: with none
  bool leads_nowhere = false;        // by a redirect to what is no directory
};
Result<MergedLower> merged_lower(const MergedName& merged, const Marks& marks, Place place);

/// Where a regular file of the upper has its data.
struct DataSource {
  enum class Where {
    kOwn,
    kBelow,  // a metacopy: in `row`
    kLost,   // a metacopy that leads to no file, since another layer or directory is below now
  };
  Where where = Where::kOwn;
  tree::NodeId row = tree::kNoNode;
};

/// Of the regular file at `place`, as `st` says. An old mark is removed; a metacopy of a file below that has
/// changed since is cut to its size (FORMAT.md, "Metacopy").
Result<DataSource> data_source(const MergedName& merged, const Marks& marks, Place place,
                               const struct stat& st);
/// The same for who only reads the upper: nothing is mended.
Result<DataSource> data_source_seen(const MergedName& merged, const Marks& marks, Place place,
                                    const struct stat& st);
/// The same of a metacopy that nobody has a descriptor of: what it says in `redirect`, and its size.
Result<DataSource> data_source_of_metacopy(const MergedName& merged,
                                           const std::optional<std::string>& redirect,
                                           std::uint64_t size_bytes);

}  // namespace layerboot::overlay
