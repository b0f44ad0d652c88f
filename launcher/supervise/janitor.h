// Janitor: takes a VM's sockets away when its launcher was killed and could not.
#pragma once

#include <sys/types.h>

#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// A process that waits for the end of this one. Destruction ends it without a word; if this process dies
/// instead, it removes what `runtime/NAME` has, and notes `end` of a run that last-run.json
/// has as going on, unless somebody else runs the VM by then. The kernel has seen to QEMU and the daemons
/// (their death signals).
class Janitor {
 public:
  /// Forks. REQUIRES: one thread.
  static Result<Janitor> start(const VmPaths& paths, const VmEvent& end);

  Janitor(Janitor&& other) noexcept;
  Janitor& operator=(Janitor&&) = delete;
  Janitor(const Janitor&) = delete;
  Janitor& operator=(const Janitor&) = delete;
  ~Janitor();

 private:
  Janitor(pid_t pid, UniqueFd pipe) : pid_(pid), pipe_(std::move(pipe)) {}

  pid_t pid_ = -1;  // -1 once moved from
  UniqueFd pipe_;
};

}  // namespace layerboot::launcher
