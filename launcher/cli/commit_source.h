// What a commit reads of a VM, and what keeps that still meanwhile.
#pragma once

#include <optional>
#include <string>

#include "launcher/agent/guest_still.h"
#include "launcher/images/image_commit.h"
#include "launcher/vm/vm_directory.h"
#include "launcher/vm/vm_pause.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Of a VM that nobody runs, whose lock it holds, or of one that runs.
class CommitSource {
 public:
  /// What written_content() says, into `commit`. EBUSY when the VM runs and `pause` does not allow that;
  /// ENOTSUP, with the reason, where it keeps nothing that could be read; ENOENT when it has written nothing.
  static Result<CommitSource> open(const StateDirs& dirs, const std::string& name, bool pause,
                                   CommitOptions& commit);

  /// Of the image below what was written (upper_identity()).
  [[nodiscard]] const std::string& identity() const { return identity_; }
  /// The VM that nobody runs; null: it runs.
  [[nodiscard]] const VmDirectory* stopped() const { return stopped_ ? &*stopped_ : nullptr; }

  /// From here on nothing of it changes: a guest with a disk of its own stands still on that; any other has
  /// synced and its processors are stopped. It goes on however this process ends. EINTR when interrupted.
  Result<void> hold_still();
  /// An Error: it has not stood still all the time, so that what was read is not to be used.
  Result<void> let_go();

 private:
  explicit CommitSource(VmPaths paths) : paths_(std::move(paths)) {}
  Result<void> open_running(const StateDirs& dirs, const std::string& name, CommitOptions& commit);

  VmPaths paths_;
  std::optional<VmDirectory> stopped_;
  bool has_disk_ = false;  // it runs, and keeps what it writes on a disk of its own
  std::string identity_;
  std::optional<GuestStill> guest_;
  std::optional<VmPause> pause_;
};

}  // namespace layerboot::launcher
