// RawTerminal: a terminal that hands every key through, for as long as the object lives.
#pragma once

#include <termios.h>

#include <optional>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Puts the terminal into raw mode, but for output processing: our own log lines still end at the left
/// margin. The old settings come back with the destructor, and when the process is ended by a fault (SIGSEGV,
/// SIGBUS, SIGFPE, SIGABRT). One at a time per process.
class RawTerminal {
 public:
  /// Nothing when `fd` is no terminal, or one that another job has in the foreground.
  static Result<std::optional<RawTerminal>> enter(int fd);

  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal();

 private:
  RawTerminal(int fd, const termios& saved) : fd_(fd), saved_(saved) {}

  int fd_;  // lent; -1 once moved from
  termios saved_;
};

}  // namespace layerboot::launcher
