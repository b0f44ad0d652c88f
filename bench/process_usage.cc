#include "bench/process_usage.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

#include "oci-mount/base/str_cat.h"

namespace layerboot::bench {

namespace {

namespace fs = std::filesystem;

constexpr int kMaxDepth = 8;  // of descendants

void add_usage(pid_t pid, int depth, ProcessUsage& usage) {
  const fs::path process = str_cat("/proc/", pid);
  std::error_code ignored;
  for (fs::directory_iterator task(process / "task", ignored), end; task != end; task.increment(ignored)) {
    std::uint64_t cpu_ns = 0;
    std::ifstream(task->path() / "schedstat") >> cpu_ns;
    usage.cpu_ns += cpu_ns;
    if (depth == kMaxDepth) continue;
    std::ifstream children(task->path() / "children");
    for (pid_t child = 0; children >> child;) add_usage(child, depth + 1, usage);
  }
  std::ifstream status(process / "status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t kib = 0;
    words >> name >> kib;
    if (name == "RssAnon:" || name == "RssFile:") usage.private_bytes += kib * 1024;
  }
  for (fs::directory_iterator fd(process / "fd", ignored), end; fd != end; fd.increment(ignored)) {
    ++usage.descriptors;
  }
}

}  // namespace

ProcessUsage usage_of(pid_t pid) {
  ProcessUsage usage;
  if (pid > 0) add_usage(pid, 0, usage);
  return usage;
}

}  // namespace layerboot::bench
