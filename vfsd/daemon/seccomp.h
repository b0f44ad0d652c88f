// The system calls that serving takes, and no others.
#pragma once

#include "oci-mount/base/io_engine.h"
#include "oci-mount/base/result.h"

namespace layerboot::vfsd {

enum class SeccompMode {
  kKill,  // any other call ends the process
  kLog,   // any other call is written to the kernel's log, and done
  kNone,
};

/// What serving does besides answering from what is open and mapped.
struct ServingCalls {
  bool changes = false;                // a file system: an upper, or a directory in place
  bool callers = false;                // as the guest's users, and syncs what they have changed
  bool lookups = false;                // finds, opens and lists files of a directory in place
  bool image_files = false;            // opens files of the image one by one: the image is a directory
  IoEngine engine = IoEngine::kUring;  // that the reactors have; not kAuto
};

/// Binds every thread of the process, for good. Call when all threads, rings and descriptors are there: no
/// thread, no ring and no socket can be made afterwards. ENOSYS or the like where the host's kernel or
/// sandbox takes no filter.
Result<void> allow_only_serving(SeccompMode mode, ServingCalls calls);

/// For a SocketKeeper's child: to say on descriptor 1 that it is ready, to wait, to remove files from
/// directories that are open, and to end.
Result<void> allow_only_removing_files(SeccompMode mode);

}  // namespace layerboot::vfsd
