// What a VM has written, as one layer of an image.
//
// Follows the OCI image specification, layer.md ("Change Types", "Whiteouts"), and what containerd, umoci and
// Docker, which unpack each layer by itself, take: an entry for each directory on the way, `.wh..wh..opq`
// before what is in its directory, and no hard link that leads out of the layer. Types, owners, modes, times,
// attributes and data are those that the VM sees, whatever of the upper and the image they come from.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/mount/tar_output.h"
#include "oci-mount/mount/upper_walk.h"
#include "oci-mount/overlay/lower.h"

namespace layerboot::mount {

struct LayerOptions {
  bool squash = false;         // all that the VM sees, as the only layer
  bool keep_identity = false;  // also what belongs_to_one_machine(); that such a thing is gone counts anyway
  bool drop_identity = false;  // squashed: nor what the image has of that
  /// Paths ("/etc/hosts") that stay as the image has them: files that the VM had from elsewhere.
  std::set<std::string, std::less<>> not_the_images;
  /// What is newer gets this time (SOURCE_DATE_EPOCH).
  std::optional<std::int64_t> newest_mtime_sec;
  std::uint32_t max_entries = layer::kMaxEntries;  // less is for tests
};

/// Writes the layer as a PAX tar, names sorted as bytes: the same upper always gives the same bytes. Holes
/// are written as zeros (DESIGN.md says why). What a tar or a layer can't hold (a socket, a name that begins
/// with ".wh.", an attribute with '=' in its name or without a value) is left out with a warning; what no
/// reader would take (a path of more than 4096 bytes or 1024 directories, a file whose data is lost) is an
/// error, which names the path. `lower` is the image without layers of the VM's own.
Result<void> write_layer(const overlay::Lower& lower, Reactor& reactor, const SeenUpper& upper,
                         const LayerOptions& options, const PutBytes& put);

}  // namespace layerboot::mount
