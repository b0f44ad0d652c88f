// `oci-mount tar`: the flattened image as one tar stream.
#pragma once

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/overlay/lower.h"

namespace layerboot::mount {

/// Writes the whole tree to `out_fd` as a PAX tar: depth first, names sorted as bytes, the root as "./", the
/// first name of a hard-linked node with its data and the others as links to it, holes as zeros. The same
/// image always gives the same bytes. What a tar can't hold (a socket, an xattr with '=' in its name) is left
/// out with a warning. The error names the path; EPIPE when nobody reads any more.
Result<void> write_tar(const overlay::Lower& lower, Reactor& reactor, int out_fd);

}  // namespace layerboot::mount
