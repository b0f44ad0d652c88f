// Starting vfsd as a launcher would.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

/// A running vfsd, killed with this object at the latest.
class VfsdProcess {
 public:
  /// `arguments` come after the program's name. Returns when it is ready, or has ended. `inherited`: a
  /// descriptor that it gets under the same number; -1 for none. `program` is what
  /// is started in vfsd's place.
  VfsdProcess(std::vector<std::string> arguments, const std::filesystem::path& cache_home, int inherited = -1,
              const char* program = LAYERBOOT_VFSD);
  ~VfsdProcess();
  VfsdProcess(const VfsdProcess&) = delete;
  VfsdProcess& operator=(const VfsdProcess&) = delete;

  [[nodiscard]] bool ready() const { return ready_; }
  /// What it said when it was, without the line's end.
  [[nodiscard]] const std::string& ready_line() const { return ready_line_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  void signal(int number) const;
  /// Waits for the end: the exit code, or -signal.
  int wait();
  /// What it has said so far, on both outputs.
  [[nodiscard]] std::string messages() const;

 private:
  pid_t pid_ = -1;
  bool ready_ = false;
  std::string ready_line_;
  int exit_code_ = -1;
  UniqueFd output_;
};

}  // namespace layerboot::test
