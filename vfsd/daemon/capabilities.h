// What the daemon may do as root, cut down to what an upper directory needs.
#pragma once

#include "oci-mount/base/result.h"

namespace layerboot::vfsd {

/// Who serves a request needs which rights of root.
enum class Rights {
  kNone,           // read-only, or an ordinary user: nothing
  kMountOnly,      // an ordinary user in its own user namespace, while the private root is made
  kOpening,        // root until all is open: what the others have
  kOpeningShare,   // the same for a directory in place
  kReadFiles,      // root, read-only, with a directory as its image
  kUpper,          // root with an upper directory
  kRecordedUpper,  // root with one that is kept as an ordinary user's
  kShare,          // root with a directory that is served in place, and written to
  kRemoveFiles,    // root, to take files out of directories of others
};

/// Gives up every capability but those of `rights`, in all sets and for the calling thread and those that it
/// starts; what the process did not have before it does not get. Call before threads.
Result<void> keep_only(Rights rights);

}  // namespace layerboot::vfsd
