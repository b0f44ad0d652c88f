// Who removes the sockets' files at the end: a process of its own, so that the daemon needs no descriptor by
// which it could change the directories that they are in.
#pragma once

#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/socket_file.h"
#include "oci-mount/base/unique_fd.h"
#include "vfsd/daemon/seccomp.h"

namespace layerboot::vfsd {

/// Waits in a child of ours, which reads nothing of what we say and may call nothing but what removes
/// `files`, until this object or the process has gone, however that ended. For the main thread.
class SocketKeeper {
 public:
  /// Forks: call before there are other threads, with the host's root in view and all rights. Stop signals
  /// are blocked in the child. Returns when the child has closed all that is not its own, and given up what
  /// it may; an Error when it can't. Nothing to keep gives an object that does nothing.
  static Result<SocketKeeper> start(std::vector<SocketFile> files, SeccompMode mode = SeccompMode::kKill);

  SocketKeeper(SocketKeeper&&) noexcept = default;
  SocketKeeper& operator=(SocketKeeper&&) = delete;
  /// Returns when the files are gone, or after kPatienceMs. Takes calls that a daemon may make in its
  /// sandbox.
  ~SocketKeeper();

  static constexpr int kPatienceMs = 5000;

 private:
  SocketKeeper() = default;

  UniqueFd alive_;  // closed: it is time
  UniqueFd done_;   // at its end: the child has gone
};

}  // namespace layerboot::vfsd
