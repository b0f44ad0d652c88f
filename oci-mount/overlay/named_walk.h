// A walk over Nodes that are named in an upper, wherever they are there.
#pragma once

#include <functional>
#include <span>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/result.h"
#include "oci-mount/overlay/node.h"
#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::overlay {

/// Calls `visit` for each of `nodes` with its place, directory by directory: any depth takes one descriptor,
/// and each directory on the way is entered once. REQUIRES: each is named in the upper whose top is
/// `root_fd`, and nothing changes there. ENOMEM where `memory` has no room for the walk; else the first
/// error. Under the Overlay's lock.
Result<void> visit_named(std::span<const NodePtr> nodes, int root_fd, MemoryBudget& memory,
                         const std::function<Result<void>(Node&, Place)>& visit);

}  // namespace layerboot::overlay
