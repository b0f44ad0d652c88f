#include "launcher/host/raw_terminal.h"

#include <unistd.h>

#include <csignal>
#include <utility>

namespace layerboot::launcher {

namespace {

// What a fault handler may touch: plain data, written before the handler is installed.
int fault_fd = -1;
termios fault_settings{};

constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT};

extern "C" void restore_after_fault(int number) {
  if (fault_fd >= 0) ::tcsetattr(fault_fd, TCSANOW, &fault_settings);
  // SA_RESETHAND: this time the fault ends the process as it would have.
  ::raise(number);
}

void set_fault_handler(void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int number : kFaults) ::sigaction(number, &action, nullptr);
}

}  // namespace

Result<std::optional<RawTerminal>> RawTerminal::enter(int fd) {
  termios saved{};
  if (::isatty(fd) == 0 || ::tcgetattr(fd, &saved) != 0) return std::nullopt;
  // In the background tcsetattr would stop us with SIGTTOU. Not our controlling terminal: nobody else's job
  // either.
  if (const pid_t foreground = ::tcgetpgrp(fd); foreground > 0 && foreground != ::getpgrp())
    return std::nullopt;
  fault_settings = saved;
  fault_fd = fd;
  set_fault_handler(restore_after_fault);
  termios raw = saved;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSANOW, &raw) != 0) {
    auto error = errno_error("cannot set the terminal to raw mode");
    set_fault_handler(SIG_DFL);
    fault_fd = -1;
    return error;
  }
  return std::optional<RawTerminal>(RawTerminal(fd, saved));
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), saved_(other.saved_) {}

RawTerminal::~RawTerminal() {
  if (fd_ < 0) return;
  ::tcsetattr(fd_, TCSANOW, &saved_);
  set_fault_handler(SIG_DFL);
  fault_fd = -1;
}

}  // namespace layerboot::launcher
