#include "launcher/host/held_user.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <bitset>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <sstream>

#include "oci-mount/base/file_lock.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

// What systemd gives services that ask for a user of their own (DynamicUser=): no distribution's users are
// here.
constexpr unsigned kFirstUser = 61184;
constexpr unsigned kLastUser = 65519;
constexpr unsigned kMaxTries = 64;
constexpr std::size_t kMaxMapBytes = 65536;
constexpr std::size_t kNameBytes = 16384;
constexpr std::size_t kMaxStatusBytes = 16384;

/// Those of the ids of kFirstUser and up that a process here can have. Source: user_namespaces(7), uid_map.
using Ids = std::bitset<kLastUser - kFirstUser + 1>;
Ids mapped_ids(const char* map) {
  std::istringstream lines(read_file(map, kMaxMapBytes).value_or(""));
  Ids ids;
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = 0;
  while (lines >> inside >> outside >> count) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (kFirstUser + i >= inside && kFirstUser + i - inside < count) ids.set(i);
    }
  }
  return ids;
}

bool is_somebodys(unsigned id) {
  std::array<char, kNameBytes> names;
  passwd user{};
  passwd* found_user = nullptr;
  group members{};
  group* found_group = nullptr;
  return ::getpwuid_r(id, &user, names.data(), names.size(), &found_user) != 0 || found_user != nullptr ||
         ::getgrgid_r(id, &members, names.data(), names.size(), &found_group) != 0 || found_group != nullptr;
}

/// Of the process of this directory in /proc: one that changed its user owns no file there.
bool runs_as(const std::filesystem::path& process, unsigned id) {
  std::istringstream status(read_file(process / "status", kMaxStatusBytes).value_or(""));
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("Uid:")) continue;
    std::istringstream ids(line.substr(4));
    for (unsigned one = 0; ids >> one;) {
      if (one == id) return true;
    }
    return false;
  }
  return false;
}

bool is_running(unsigned id) {
  std::error_code error;
  for (auto at = std::filesystem::directory_iterator("/proc", error);
       !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    const bool is_process = name.find_first_not_of("0123456789") == std::string::npos;
    if (is_process && runs_as(at->path(), id)) return true;
  }
  return false;
}

/// Empty when somebody else has it.
Result<HeldUser> hold_user(const std::filesystem::path& directory, unsigned id) {
  auto path = directory / std::to_string(id);
  LB_ASSIGN(UniqueFd file, open_path(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return HeldUser();
    return errno_error("cannot lock ", path.string());
  }
  // Who had it may have removed it just now, and a third one have made it anew.
  if (!is_still_at(file.get(), path)) return HeldUser();
  return HeldUser(std::move(file), std::move(path));
}

}  // namespace

Result<FreeUser> free_user(const std::filesystem::path& runtime, const std::string& seed) {
  const auto directory = runtime / ".users";
  LB_TRY(make_directories(directory, 0700));
  const Ids mapped = mapped_ids("/proc/self/uid_map") & mapped_ids("/proc/self/gid_map");
  if (mapped.none()) return FreeUser{.is_mapped = false, .held = {}};
  const std::size_t begin = std::hash<std::string>{}(seed) % mapped.size();
  unsigned tries = 0;
  for (std::size_t i = 0; i < mapped.size() && tries < kMaxTries; ++i) {
    const std::size_t at = (begin + i) % mapped.size();
    if (!mapped.test(at)) continue;
    ++tries;
    const auto id = static_cast<unsigned>(kFirstUser + at);
    if (is_somebodys(id)) continue;
    LB_ASSIGN(HeldUser held, hold_user(directory, id));
    // Of another runtime directory, or none of ours: that is seen once it runs.
    if (held && !is_running(id)) return FreeUser{.id = id, .is_mapped = true, .held = std::move(held)};
  }
  return FreeUser();
}

bool can_change_user() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> rights{};
  constexpr std::uint32_t kNeeded = 1U << CAP_SETUID | 1U << CAP_SETGID | 1U << CAP_CHOWN;
  return ::geteuid() == 0 && ::syscall(SYS_capget, &header, rights.data()) == 0 &&
         (rights[0].effective & kNeeded) == kNeeded;
}

}  // namespace layerboot::launcher
