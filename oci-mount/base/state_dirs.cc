#include "oci-mount/base/state_dirs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace layerboot {

namespace {

std::filesystem::path from_variable(const char* name) {
  const char* value = std::getenv(name);
  // The XDG specification: a relative path is to be ignored.
  if (value == nullptr || value[0] != '/') return {};
  return value;
}

/// As the XDG specification wants it; one of root's will do, and so will one that is yet to be made.
std::filesystem::path unless_another_users(std::filesystem::path directory) {
  struct stat st{};
  const bool is_another_users =
      ::stat(directory.c_str(), &st) == 0 && st.st_uid != ::geteuid() && st.st_uid != 0;
  return is_another_users ? std::filesystem::path() : directory;
}

/// What pam_systemd makes for root's logins goes with the last of them; what root runs stays, and is to be
/// found from a service, or another login, too.
std::filesystem::path unless_of_roots_login(std::filesystem::path directory) {
  const bool is_of_logins = directory.string().starts_with("/run/user/");
  return ::geteuid() == 0 && is_of_logins ? std::filesystem::path() : directory;
}

std::filesystem::path choose(const std::filesystem::path& given, const char* below_home,
                             const char* for_root) {
  if (!given.empty()) return given / "layerboot";
  if (::geteuid() == 0) return for_root;
  if (auto home = from_variable("HOME"); !home.empty() && below_home != nullptr) {
    return home / below_home / "layerboot";
  }
  return {};
}

}  // namespace

Result<StateDirs> StateDirs::from_environment() {
  StateDirs dirs;
  dirs.data = choose(from_variable("XDG_DATA_HOME"), ".local/share", "/var/lib/layerboot");
  dirs.cache = choose(from_variable("XDG_CACHE_HOME"), ".cache", "/var/cache/layerboot");
  dirs.runtime = choose(unless_of_roots_login(unless_another_users(from_variable("XDG_RUNTIME_DIR"))),
                        nullptr, "/run/layerboot");
  if (dirs.data.empty() || dirs.cache.empty()) {
    return fail(ENOENT,
                "HOME is not set: set it, or XDG_DATA_HOME and XDG_CACHE_HOME, to a directory of yours");
  }
  // Without a login session there is no XDG_RUNTIME_DIR; sockets then live beside the data.
  if (dirs.runtime.empty()) dirs.runtime = dirs.data / "run";
  return dirs;
}

}  // namespace layerboot
