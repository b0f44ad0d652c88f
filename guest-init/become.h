// The child's side of spawn().
#pragma once

#include <array>

#include "guest-init/spawn.h"

namespace guest_init {

/// Turns this process, just forked, into the program of `plan`: a session of its own, the image's root, the
/// user, the directory, `stdio` as 0, 1 and 2. Writes the exit code as one byte and the reason to `report`
/// when it can't, and ends.
[[noreturn]] void become(const SpawnPlan& plan, std::array<int, 3> stdio, int report);

}  // namespace guest_init
