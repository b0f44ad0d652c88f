// Runs other programs to their end (apt-get, dpkg-deb, tar, …), so that Ctrl-C ends them and us in order.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// While one lives, SIGINT, SIGTERM and SIGHUP no longer kill this process but are noted, so that what is
/// half made can be taken away on the way out. May be nested; belongs to the main thread, and no other thread
/// may leave these signals unblocked. The signal stays pending, and is delivered when the outermost scope
/// ends.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  /// EINTR's Error once one of the signals has come: to be returned at once, and passed on.
  [[nodiscard]] static Result<void> check();

 private:
  sigset_t previous_mask_;
};

/// Where a tool finds its standard input by name.
inline constexpr const char* kToolInputPath = "/proc/self/fd/0";

struct ToolSpec {
  std::vector<std::string> argv;  // argv[0] is a path, or a name looked up in PATH and the sbin directories
  std::filesystem::path working_directory;  // empty: ours
  std::filesystem::path output_file;        // standard output goes here; empty: it is returned
  std::function<void()> on_tick;        // called about five times a second while the tool runs; may be empty
  std::function<void(pid_t)> on_start;  // called once, when it runs; may be empty
  /// Where it has to be ended before its own end, it is asked to by SIGTERM and has so long: for one that
  /// clears up.
  std::chrono::milliseconds patience{0};
  int input = -1;                   // its standard input, lent; below 0: /dev/null
  int* exit_status = nullptr;       // gets it, and then none is an Error
  std::string* messages = nullptr;  // gets the end of its standard error, where it has succeeded too
  /// Not 0: for one that parses what strangers made. It is this user and group and no more, without root's
  /// rights and a way to get them back, without a network, and without our environment.
  unsigned user = 0;
  /// With a user, for one that needs no other file than its input, by the name kToolInputPath: see
  /// see_programs_and_input_only(). `input` is a regular file.
  bool sees_input_only = false;
  bool shows_all = false;  // both its outputs go to our standard error, and are in no result and no Error
};

/// What a tool may print on standard output when it is returned; past it the tool is killed and E2BIG given.
inline constexpr std::size_t kMaxToolOutputBytes = std::size_t{256} << 20;

/// Runs the tool in a process group of its own, with messages in C.UTF-8,
/// and waits. Gives its standard output. An exit status other than 0 is an Error with the last lines of its
/// standard error; ENOENT names the program that is missing; EINTR when we are interrupted, the tool's group
/// killed. The tool does not outlive us. REQUIRES: called on the main thread (the death signal is tied to
/// it).
Result<std::string> run_tool(const ToolSpec& spec);

/// run_tool of a command line without further wishes.
Result<std::string> run_tool(std::vector<std::string> argv);

}  // namespace layerboot::launcher
