// The child's side of index_child.h.
#pragma once

namespace layerboot::layer {

/// Reads its request, shuts itself in, indexes, reports. The exit code to end with.
int index_child_main();

}  // namespace layerboot::layer
