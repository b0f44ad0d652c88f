// The supervisor: starts the daemon and QEMU, watches both, and takes them down in order.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>

#include "launcher/child.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// How long each step of a teardown may take before the next, harsher one.
struct SupervisorBounds {
  std::chrono::milliseconds power_down{90'000};  // the guest's own shutdown, slow under emulation
  std::chrono::milliseconds quit{5'000};         // QEMU, asked to quit
  std::chrono::milliseconds flush{30'000};       // the daemon, after SIGTERM
  std::chrono::milliseconds drain{2'000};        // what the guest said last, into a slow standard output
  std::chrono::milliseconds same_end{500};  // a daemon that ends cleanly just before QEMU is seen to have
};

struct SupervisorPlan {
  /// Started first, with kVfsdReadyFd; none when somebody else's daemon serves `socket`.
  std::optional<ChildSpec> daemon;
  /// Where the daemon listens; empty when the VM needs none.
  std::filesystem::path socket;
  /// Started when the daemon is ready, with the descriptors of qemu_args.h; none to serve only.
  std::optional<ChildSpec> vmm;
  /// Called once, when the daemon is ready; may be empty.
  std::function<void()> on_ready;
  int console_input = 0;  // lent
  int console_output = 1;
  SupervisorBounds bounds;
};

/// A guest that resets itself this often in a row, each time within kQuickReset of the last, is not booting.
inline constexpr unsigned kMaxQuickResets = 5;
inline constexpr std::chrono::seconds kQuickReset{15};

/// Runs the plan to its end on this thread, which must be the main one. Success: the guest powered off (or,
/// without a VMM, the daemon was stopped by a signal). SIGINT, SIGTERM and SIGHUP, and the console's escape,
/// power the guest off; a second one, or SIGQUIT, stops it at once, which is an error since the guest may
/// have lost data. An Error without text: a child has said why on standard error. Afterwards no child is left
/// and the terminal is as it was.
Result<void> supervise(const SupervisorPlan& plan);

}  // namespace layerboot::launcher
