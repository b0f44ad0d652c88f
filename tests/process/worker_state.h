// A process that reads foreign bytes for one of our programs, as the host's /proc tells it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace layerboot::test {

std::string proc_path(pid_t pid, const std::string& name);
std::map<std::string, std::string> status_of(pid_t pid);
std::vector<pid_t> children_of(pid_t pid);

/// Waits until `holds`, for half a minute at most.
template <typename Condition>
bool comes_true(Condition holds) {
  for (int i = 0; i < 3000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

/// The one of that name that is at work for `program` behind its filter: its child, or, where that has
/// process numbers of its own, the child's. 0 where there is none now.
pid_t find_worker(pid_t program, const std::string& name);

/// That the worker has no rights, no file system, namespaces of its own, and open only what it was given:
/// /dev/null, a socket, `file`, and so many files without a name.
void expect_nothing_of_the_host(pid_t program, pid_t worker, const std::string& file,
                                std::size_t nameless_files);

}  // namespace layerboot::test
