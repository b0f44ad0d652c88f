// What a differential test begins with: an image that has something of everything, and the same on the host.
#pragma once

#include <string>
#include <vector>

#include "tests/oci-mount/vfs/differential.h"

namespace layerboot::test {

/// Its layers: every kind of object that a tar can carry. Sockets are made by the operations.
std::vector<std::string> image_of_all_kinds();

/// Puts all that `ours` shows into the host's directory `top`, which is there; names of one file by the
/// number that they share. Root's.
void copy_tree(OurSide& ours, const std::string& top);

}  // namespace layerboot::test
