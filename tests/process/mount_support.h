// Starting oci-mount as a user would, and its mounts.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

struct Outcome {
  int exit_code = -1;  // or -signal
  std::string out;
  std::string err;
};

/// Runs a program to its end. `cache_home` is its XDG_CACHE_HOME. `out_fd`: its standard output, instead of
/// Outcome's.
Outcome run_program(const std::vector<std::string>& words, const std::filesystem::path& cache_home,
                    int out_fd = -1);

/// Starts a program, its output and messages thrown away. -1 if it can't be started.
pid_t start_program(const std::vector<std::string>& words, const std::filesystem::path& cache_home);

/// What a shell leaves open for its own ends, as for flock(1), and every program that is started has as well.
class StrayDescriptor {
 public:
  StrayDescriptor();
  /// Lets go of ours: whether nobody has it any more, within a while.
  bool is_let_go();

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
};

/// `oci-mount mount --foreground …`, ended with this object at the latest.
class Mounted {
 public:
  /// Returns when the mount is of use; or when the program has ended, with exit_code() set.
  Mounted(std::vector<std::string> arguments, const std::filesystem::path& cache_home,
          std::filesystem::path mountpoint);
  ~Mounted();
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const std::string& messages() const { return messages_; }
  /// Waits for the program's end: its exit code, or -signal.
  int wait();
  int stop(int signal);

 private:
  std::filesystem::path mountpoint_;
  UniqueFd messages_fd_;
  std::string messages_;
  pid_t pid_ = -1;
  int exit_code_ = -1;
};

/// Whether something is mounted on `directory`.
bool is_mountpoint(const std::filesystem::path& directory);

/// Why no FUSE mount can be made here; empty if it can.
std::string why_no_fuse();

}  // namespace layerboot::test
