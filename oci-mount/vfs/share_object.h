// Objects of a shared directory: how they are reached on the host, and told apart.
//
// Unlike an upper, the directory belongs to others as well, who may move and replace what is in it at any
// time. So every object is opened by its whole path from the top, following no link, and is then held against
// what is known of it. What is mounted on the way is entered, as it is by everybody.
#pragma once

#include <cstdint>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/upper_calls.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::vfs {

/// What tells an object from one that gets its inode number later. `born` is zero where the host keeps no
/// birth times.
struct Identity {
  std::uint64_t mount = 0;  // that it was reached by; where the kernel does not tell, its device
  std::uint64_t ino = 0;
  Time born;
  std::uint32_t type = 0;  // S_IFMT bits
  friend bool operator==(const Identity&, const Identity&) = default;
};

/// One look at an object.
struct Seen {
  Identity identity;
  Attr attr;  // as the host has it
};

/// statx(2), of the object itself where it is a symlink. With the name "", of the open object.
Result<Seen> look_at(overlay::Place place);

/// Opens anew, with rights of its own, what `fd` (also one of O_PATH) is open on. Regular files and
/// directories only.
Result<UniqueFd> open_again(int fd, int flags);

}  // namespace layerboot::vfs
