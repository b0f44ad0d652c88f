#include "tests/process/worker_state.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "oci-mount/base/sanitizers.h"

namespace layerboot::test {

namespace fs = std::filesystem;

std::string proc_path(pid_t pid, const std::string& name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

std::map<std::string, std::string> status_of(pid_t pid) {
  std::ifstream in(proc_path(pid, "status"));
  std::map<std::string, std::string> values;
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    const auto value = line.find_first_not_of(" \t", colon + 1);
    values[line.substr(0, colon)] = value == std::string::npos ? "" : line.substr(value);
  }
  return values;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream in(proc_path(pid, "task/" + std::to_string(pid) + "/children"));
  std::vector<pid_t> children;
  for (pid_t child = 0; in >> child;) children.push_back(child);
  return children;
}

pid_t find_worker(pid_t program, const std::string& name) {
  for (const pid_t child : children_of(program)) {
    const auto below = children_of(child);
    const pid_t worker = below.empty() ? child : below.front();
    auto status = status_of(worker);
    if (status["Name"] == name && (kSanitizer || status["Seccomp"] == "2")) return worker;
  }
  return 0;
}

void expect_nothing_of_the_host(pid_t program, pid_t worker, const std::string& file,
                                std::size_t nameless_files) {
  auto status = status_of(worker);
  for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapAmb"})
    EXPECT_EQ(status[set], "0000000000000000") << set;
  EXPECT_EQ(status["NoNewPrivs"], "1");
  if (::geteuid() != 0) GTEST_SKIP() << "the rest of another process's state takes root";
  std::set<std::string> open;
  for (const auto& fd : fs::directory_iterator(proc_path(worker, "fd")))
    open.insert(fs::read_symlink(fd.path()));
  EXPECT_LE(open.size(), 3 + nameless_files);
  EXPECT_TRUE(open.contains(file));
  for (const auto& one : open) {
    EXPECT_TRUE(one == "/dev/null" || one.starts_with("socket:") || one == file ||
                one.find("(deleted)") != std::string::npos)
        << one;
  }
  std::error_code error;
  if (fs::read_symlink(proc_path(worker, "ns/pid"), error) == fs::read_symlink("/proc/self/ns/pid", error))
    GTEST_SKIP() << "this host gives no namespaces";
  EXPECT_TRUE(fs::is_empty(proc_path(worker, "root")));
  for (const char* name : {"mnt", "net", "ipc", "uts", "cgroup", "pid"}) {
    EXPECT_NE(fs::read_symlink(proc_path(worker, std::string("ns/") + name)),
              fs::read_symlink(proc_path(program, std::string("ns/") + name)))
        << name;
  }
}

}  // namespace layerboot::test
