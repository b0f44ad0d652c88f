// Background: a process that goes to the background once it has proved to work.
#pragma once

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::mount {

/// fork() gives two: in the parent, which() is kParent and exit_code() waits for the child's word; in the
/// child all work is done, messages still reach the terminal, and ready() sends it to the background.
class Background {
 public:
  enum class Which { kParent, kChild };

  /// REQUIRES: this process has one thread.
  static Result<Background> fork();

  [[nodiscard]] Which which() const { return child_ > 0 ? Which::kParent : Which::kChild; }

  /// Parent: 0 once the child is ready, else the child's own exit code when it ended before.
  [[nodiscard]] int exit_code();

  /// Child: leaves the terminal (its session, its standard streams, its directory) and what else the caller
  /// had open, and lets the parent go.
  Result<void> ready();

 private:
  Background(int child, UniqueFd pipe) : child_(child), pipe_(std::move(pipe)) {}

  int child_;  // a pid, 0 in the child
  UniqueFd pipe_;
};

}  // namespace layerboot::mount
