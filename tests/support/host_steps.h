// Runs a piece of work in a child process and stops it before its system calls: to look at what is there on
// the host, to count them, or to let one fail.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "oci-mount/base/result.h"

namespace layerboot::test {

/// A call that the child is about to make.
struct HostStep {
  unsigned number = 0;  // from 0 on
  int call = 0;         // SYS_…
  bool changes = true;  // it may change something on the host; else it only looks, or is about no file
};

/// "renameat2"; of calls that are about no file their number.
std::string name_of(const HostStep& step);
/// Whether it is about a file's name, attributes or data, as far as this program makes such calls.
bool is_about_files(const HostStep& step);

/// Which calls are stopped at, and numbered.
enum class Stops : unsigned char {
  kChanges,  // those that may change something on the host
  kAll,      // and all others but those for memory, threads, and time
};

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
                                 const BeforeStep& before_step, Stops stops = Stops::kChanges);

/// How often each call was made between begin() and end(), by name_of(). ECANCELED with what `work` said
/// unless that was "".
Result<std::map<std::string, unsigned>> count_calls(const std::function<std::string(StepMarks&)>& work);

/// The same without stops: for work that must leave nothing open here.
Result<std::string> run_apart(const std::function<std::string()>& work);

}  // namespace layerboot::test
