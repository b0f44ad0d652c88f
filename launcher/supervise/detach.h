// Detachment: goes on in a process of its own, without the terminal.
#pragma once

#include <sys/types.h>

#include <filesystem>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Both processes have one of these after split(); is_child() tells them apart.
class Detachment {
 public:
  /// Forks. The child is in a session of its own, with standard input and output from and to /dev/null and
  /// standard error in `log`, which begins anew. REQUIRES: one thread, as fork(2) takes no other along.
  static Result<Detachment> split(const std::filesystem::path& log);

  [[nodiscard]] bool is_child() const { return child_ == 0; }

  /// In the child: lets go of what the caller had left open, and tells the parent that all is well. EPIPE
  /// when the parent is gone: its person has given up.
  Result<void> started();
  /// In the child: tells the parent why it does not. Nothing once it has started.
  void failed(const Error& why);
  /// In the parent: waits for that. When the child ends first, its log is copied to standard error; the Error
  /// has a text where the log does not say why, as on a disk that is full.
  Result<void> wait_started();

 private:
  Detachment(pid_t child, UniqueFd pipe, UniqueFd log)
      : child_(child), pipe_(std::move(pipe)), log_(std::move(log)) {}

  pid_t child_;
  UniqueFd pipe_;
  UniqueFd log_;
};

}  // namespace layerboot::launcher
