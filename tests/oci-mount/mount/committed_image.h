// CommittedImage: what a VM has written over a small image, as a layer of a new image; and trees to compare,
// told exactly.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "oci-mount/mount/layer_file.h"
#include "tests/oci-mount/vfs/differential.h"
#include "tests/oci-mount/vfs/image_fixture.h"

namespace layerboot::test {

/// Path ("" for the top) to all that is to be the same of an object.
using ExactTree = std::map<std::string, std::string>;

/// All that a FileSystem shows, but for sockets.
ExactTree exact_tree(vfs::FileSystem& fs);
/// The same of a directory of the host.
ExactTree exact_tree(const std::string& directory);
/// Without attributes that have no value.
ExactTree without_empty_xattrs(ExactTree tree);
/// The same, and without those whose names begin so, which a reader does not keep.
ExactTree without_xattrs(ExactTree tree, std::string_view prefix);
/// The first few lines in which they differ; empty where they do not.
std::string difference_of(const ExactTree& expected, const ExactTree& seen);

/// The upper of `fixture`, whose file system must be closed, as a layer.
Result<std::string> layer_of(ImageFixture& fixture, const mount::LayerOptions& options,
                             store::Compression compression = store::Compression::kNone);

/// A layout "committed" beside the fixture's image: its layers and the new one, or that alone where it was
/// squashed.
Result<std::string> commit_into_layout(ImageFixture& fixture, const std::vector<std::string>& tars,
                                       const mount::LayerOptions& options, store::Compression compression);

/// The members of a tar in their order: type, name, and of a link where to: "5 etc/", "1 b -> a".
std::vector<std::string> members_of(std::string_view tar);

}  // namespace layerboot::test
