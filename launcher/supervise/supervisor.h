// The supervisor: starts the daemons and QEMU, watches all, and takes them down in order.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/exit_codes.h"
#include "launcher/agent/guest_link.h"
#include "launcher/host/child.h"
#include "launcher/qemu/qemu_user.h"
#include "launcher/supervise/timeline.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// How long each step of a teardown may take before the next, harsher one.
struct SupervisorBounds {
  std::chrono::milliseconds power_down{90'000};  // the guest's own shutdown, slow under emulation
  std::chrono::milliseconds hold{15'000};  // until a guest whose agent says nothing is taken for one without
  std::chrono::milliseconds hearing{1'000};  // until a typed Ctrl-C goes to a guest that says nothing of it
  std::chrono::milliseconds end_of_input{1'000};  // until a shell is told again that its input has ended
  std::chrono::milliseconds ask_again{15'000};    // of that, until it is asked once more, in every way
  std::chrono::milliseconds quit{5'000};          // QEMU, asked to quit
  std::chrono::milliseconds flush{30'000};        // a daemon, after SIGTERM
  std::chrono::milliseconds kill{5'000};          // any of them, after SIGKILL
  std::chrono::milliseconds drain{2'000};         // what the guest said last, into a slow standard output
  std::chrono::milliseconds clear_up{30'000};     // QEMU, once the guest is off
  std::chrono::milliseconds same_end{500};  // a daemon that ends cleanly just before QEMU is seen to have
};

struct SupervisorPlan {
  /// Started first, the root's before those of volumes. With a VMM each has kVfsdSocketFd, which leads to it;
  /// none when somebody else's daemon serves `socket`.
  std::vector<ChildSpec> daemons;
  /// Where a foreign daemon listens that serves the root, or, without a VMM, ours.
  std::filesystem::path socket;
  bool disk_root = false;  // no daemon serves the root
  /// Started when the daemons are ready, with the descriptors of qemu_args.h; none to serve only.
  std::optional<ChildSpec> vmm;
  /// The other end of QEMU's network, started with its socket as kFirstInheritedFd; none without one.
  std::optional<ChildSpec> network;
  /// What to do when a daemon finds that what it is to write to belongs to another image; may be empty.
  std::string other_image_advice;
  /// Called once, when the daemons are ready. An Error ends the run. May be empty.
  std::function<Result<void>()> on_ready;
  /// Called once, when QEMU runs. What it gives ends the run: nobody wants the VM any more. May be empty.
  std::function<Result<void>()> on_started;
  /// Called once, when all has ended and before the control socket closes: who finds nobody there finds what
  /// this has noted. May be empty.
  std::function<void(const Result<int>& outcome)> on_ended;
  /// Called when the guest has reset itself, once for each reboot. May be empty.
  std::function<void()> on_reboot;
  bool power_button = true;  // the guest may hear it; else it is its agent that is asked first
  int console_input = 0;     // lent; a console_output below 0: no terminal, the console is for others
  int console_output = 1;
  std::filesystem::path console_log;     // empty: none is kept
  std::filesystem::path launcher_log;    // where our standard error goes, to be kept short; empty: elsewhere
  std::filesystem::path control_socket;  // empty: nobody else can look or stop
  /// What to do with the guest's agent; none: the VM has no port for one.
  std::optional<GuestPlan> guest;
  HeldUser qemu_user;            // held for as long as QEMU runs; may be empty
  Timeline* timeline = nullptr;  // lent; may be null
  bool* stop_asked = nullptr;    // lent; may be null. Set at the end: somebody asked for it
  SupervisorBounds bounds;
};

/// Of a VM that runs a command: the guest reset itself, so that nobody knows how the command would have
/// ended.
inline constexpr int kCommandLostStatus = guest_init::kNotStarted;

/// A guest that resets itself this often in a row, each time within kQuickReset of the last, is not booting.
inline constexpr unsigned kMaxQuickResets = 5;
inline constexpr std::chrono::seconds kQuickReset{15};
/// One reboot is several resets to QEMU, as kernel and firmware try one way after the other: those that come
/// this soon are the same one.
inline constexpr std::chrono::seconds kOneReset{2};

/// Runs the plan to its end on this thread, which must be the main one. Success: the guest powered off (or,
/// without a VMM, the daemon was stopped by a signal); the exit code of the command that the VM ran,
/// kCommandLostStatus, or of one that was stopped before its command began kSignalExit and the signal's
/// number; else 0. A guest that says that its boot has stopped, or ends before its command is run, is an
/// Error. SIGINT, SIGTERM and SIGHUP, the console's escape, and a stop by the control socket power the guest
/// off; a second one, a kill, or SIGQUIT, stops it at once, which is an error since the guest may have lost
/// data. An Error without text: a child has said why on standard error. The end of a volume's daemon is told
/// and ends nothing. Afterwards no child is left, but for one that can't be killed, which is told and an
/// error; and the terminal is as it was.
Result<int> supervise(const SupervisorPlan& plan);

}  // namespace layerboot::launcher
