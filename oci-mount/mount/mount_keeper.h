// MountKeeper: a process of its own that takes a mount away, so that the one that serves it needs no right
// to.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::mount {

class MountKeeper {
 public:
  /// `mountpoint` is an absolute path. The keeper has nothing open of ours, and believes nothing but when.
  static Result<MountKeeper> start(const std::string& mountpoint);
  MountKeeper(MountKeeper&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), word_(std::move(other.word_)) {}
  MountKeeper& operator=(MountKeeper&&) = delete;
  /// Lets it go, with the mount as it is.
  ~MountKeeper() { end(); }

  /// Returns when the mount is gone.
  void unmount();

 private:
  MountKeeper(pid_t pid, UniqueFd word) : pid_(pid), word_(std::move(word)) {}
  void end();

  pid_t pid_;
  UniqueFd word_;  // it waits at the other end
};

}  // namespace layerboot::mount
