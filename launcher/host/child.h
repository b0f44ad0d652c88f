// Child: a process of ours, held by pidfd, that can't outlive us.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "launcher/host/pid_namespace.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

struct ChildSpec {
  std::string label;              // for messages: "vfsd"
  std::vector<std::string> argv;  // argv[0] is a path, or a name looked up in PATH
  int death_signal = SIGTERM;     // what the child gets when this process dies
  bool quiet = false;             // its standard output and error go to /dev/null
  int output = -1;                // lent: they go there; below 0, where our error goes
  /// Ends with us even where it changes its user, by which it loses the death signal; needs CAP_SYS_ADMIN.
  bool own_pid_namespace = false;
  /// What it is apart from by namespaces of its own: CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, or none.
  /// REQUIRES: can_be_apart().
  int apart_from = 0;
};

/// The first inherited descriptor's number in a child.
inline constexpr int kFirstInheritedFd = 3;

/// Whether this process may give a child such namespaces; tried, since what refuses them is not only rights.
[[nodiscard]] bool can_be_apart(int namespaces);

struct ExitStatus {
  bool signaled = false;
  int value = 0;  // exit status, or the signal's number

  [[nodiscard]] bool clean() const { return !signaled && value == 0; }
  /// "exit status 1", "signal 9 (Killed)".
  [[nodiscard]] std::string describe() const;
};

/// Owns one running process. Destruction kills it and waits, so no error path leaves an orphan.
class Child {
 public:
  /// Starts the program with standard input from /dev/null, standard output and error as `spec` says, and
  /// `inherited` as descriptors 3, 4, ... in this order; nothing else is inherited. In a session of its own:
  /// the terminal's Ctrl-C and hang-up come to us alone, who pass them on in order. ENOENT and the like when
  /// the program can't be executed. REQUIRES: called on the main thread, since the death signal is tied to
  /// the thread that starts the child.
  static Result<Child> spawn(const ChildSpec& spec, const std::vector<int>& inherited);

  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Readable when the process has ended. Lent.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] const std::string& label() const { return label_; }

  /// Does nothing to a process that has ended.
  void send(int signal_number) const;
  /// Waits for the end and reaps. Call once.
  ExitStatus wait();
  /// For one that was killed and does not end, as a thread does not that waits for a dead network share: it
  /// is not waited for any more, and whoever adopts it reaps it. Instead of wait().
  void leave();

 private:
  Child(std::string label, pid_t pid, std::optional<PidNamespace> pid_namespace)
      : label_(std::move(label)), pid_(pid), pid_namespace_(std::move(pid_namespace)) {}
  void kill_and_reap();

  std::string label_;
  pid_t pid_ = -1;  // -1 once reaped
  UniqueFd pidfd_;
  std::optional<PidNamespace> pid_namespace_;
};

}  // namespace layerboot::launcher
