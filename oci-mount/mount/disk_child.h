// The child that reads a guest's disk: libext2fs in walls, since a guest chooses every byte of it.
#pragma once

namespace layerboot::mount {

/// Gives the exit code to end with. Reads the disk that it finds open, and answers on its socket until nobody
/// asks any more (disk_messages.h).
int disk_child_main();

}  // namespace layerboot::mount
