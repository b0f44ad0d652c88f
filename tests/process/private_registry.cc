#include "tests/process/private_registry.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci-mount/base/str_cat.h"
#include "tests/process/slow_proxy.h"
#include "tests/support/image_builder.h"

namespace layerboot::test {

namespace {

constexpr int kMaxTries = 100;
constexpr useconds_t kTryInterval = 100'000;

int free_port() {
  const UniqueFd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return bind_loopback(probe);
}

/// Of those that hold both texts, and an answer of the 200s.
std::size_t count_lines(const std::string& log, std::string_view begin, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = log.find(begin, at)) != std::string::npos; ++at) {
    const auto line = log.substr(at, log.find('\n', at) - at);
    if (line.find(part) != std::string::npos && line.find("\" 20") != std::string::npos) ++count;
  }
  return count;
}

}  // namespace

PrivateRegistry::PrivateRegistry(const std::filesystem::path& directory, std::string_view htpasswd)
    : log_(directory / "registry.log"), port_(free_port()) {
  std::string config =
      str_cat("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: ",
              (directory / "registry").string(), "\nhttp:\n  addr: 127.0.0.1:", port_, "\n");
  if (!htpasswd.empty()) {
    write_text(directory / "htpasswd", htpasswd);
    config +=
        str_cat("auth:\n  htpasswd:\n    realm: test\n    path: ", (directory / "htpasswd").string(), "\n");
  }
  write_text(directory / "registry.yml", config);
  const std::string config_path = (directory / "registry.yml").string();
  const char* const argv[] = {"docker-registry", "serve", config_path.c_str(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, log_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
  if (::posix_spawnp(&pid_, argv[0], &actions, nullptr, const_cast<char**>(argv), environ) != 0) pid_ = -1;
  ::posix_spawn_file_actions_destroy(&actions);
  if (pid_ < 0) {
    why_not_ = "docker-registry is not installed (Debian package docker-registry)";
    return;
  }
  for (int i = 0; i < kMaxTries; ++i) {
    if (connect_loopback(port_)) return;
    ::usleep(kTryInterval);
  }
  why_not_ = "docker-registry does not answer: " + read_text(log_);
}

PrivateRegistry::~PrivateRegistry() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
}

template <typename Count>
std::size_t PrivateRegistry::counted(std::size_t at_least, Count count) const {
  std::size_t found = 0;
  for (int i = 0; i < kMaxTries; ++i) {
    found = count(read_text(log_));
    if (found >= at_least) break;
    ::usleep(kTryInterval);
  }
  return found;
}

std::size_t PrivateRegistry::blobs_given(std::size_t at_least) const {
  return counted(at_least,
                 [](const std::string& log) { return count_lines(log, "\"GET /v2/", "/blobs/sha256:"); });
}

std::size_t PrivateRegistry::blobs_taken(std::size_t at_least) const {
  return counted(at_least,
                 [](const std::string& log) { return count_lines(log, "\"PUT /v2/", "/blobs/uploads/"); });
}

}  // namespace layerboot::test
