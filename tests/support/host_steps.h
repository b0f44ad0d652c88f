// Runs a piece of work in a child process and stops it before each system call that may change something on
// the host: to look at what is there, or to let the call fail.
#pragma once

#include <functional>
#include <string>

#include "oci-mount/base/result.h"

namespace layerboot::test {

/// A call that the child is about to make.
struct HostStep {
  unsigned number = 0;  // from 0 on
  int call = 0;         // SYS_…
};

/// "renameat2", for those that are stopped at.
std::string name_of(const HostStep& step);

/// What the work says to who watches it. Steps are counted and told only between begin() and end().
class StepMarks {
 public:
  void begin();
  void end();

 private:
  friend struct SteppedRun;
  struct Shared;
  explicit StepMarks(Shared* shared) : shared_(shared) {}
  Shared* shared_;
};

/// The child's call waits until this returns: 0 lets it be made, an errno is what it fails with instead.
using BeforeStep = std::function<int(const HostStep&)>;

/// Gives what `work` returned in a child of its own, which ends without unwinding: as a process does that is
/// killed then. The calls of all its threads are seen; of io_uring, the submission. Needs no rights, and a
/// process without other threads. An error where the child could not be watched, or has died.
Result<std::string> run_in_steps(const std::function<std::string(StepMarks&)>& work,
                                 const BeforeStep& before_step);

/// The same without stops: for work that must leave nothing open here.
Result<std::string> run_apart(const std::function<std::string()>& work);

}  // namespace layerboot::test
