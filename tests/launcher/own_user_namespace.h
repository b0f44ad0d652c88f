// What becomes of something as root of a user namespace that has no id but that root's, as in a container.
#pragma once

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <optional>
#include <string>

namespace layerboot::launcher {

/// The status of a child that ends with what `act` gives, which it does there. Nothing where no such
/// namespace can be made.
inline std::optional<int> in_own_user_namespace(const std::function<int()>& act) {
  constexpr int kNoNamespace = 77;
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWUSER) != 0) ::_exit(kNoNamespace);
    std::ofstream("/proc/self/setgroups") << "deny";
    const bool mapped = !(std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1" << std::flush).fail() &&
                        !(std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1" << std::flush).fail();
    ::_exit(mapped ? act() : kNoNamespace);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return std::nullopt;
  if (!WIFEXITED(status)) return -1;
  if (WEXITSTATUS(status) == kNoNamespace) return std::nullopt;
  return WEXITSTATUS(status);
}

}  // namespace layerboot::launcher
