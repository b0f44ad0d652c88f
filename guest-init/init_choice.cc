#include "guest-init/init_choice.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#include "guest-init/open_in_root.h"
#include "guest-init/workload.h"

namespace guest_init {

bool is_shell(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  return path.size() >= 2 && path.ends_with("sh");
}

std::string resolve_program(const std::string& new_root, std::string_view path) {
  const int directory = open(new_root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return {};
  const int file = open_in_root(directory, std::string(path).c_str(), O_PATH);
  close(directory);
  if (file < 0) return {};
  struct stat st{};
  const bool program = fstat(file, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0;
  char target[PATH_MAX];
  const std::string self = "/proc/self/fd/" + std::to_string(file);
  const ssize_t size = program ? readlink(self.c_str(), target, sizeof(target)) : -1;
  close(file);
  if (size <= 0) return {};
  return {target, static_cast<std::size_t>(size)};
}

std::string find_init(const std::string& new_root) {
  for (const char* path : kInitPaths) {
    if (!resolve_program(new_root, path).empty()) return path;
  }
  return {};
}

bool is_systemd(const std::string& new_root, std::string_view path) {
  return resolve_program(new_root, path).ends_with("/systemd");
}

bool has_message_bus(int root) {
  return faccessat(root, "usr/bin/dbus-daemon", F_OK, 0) == 0 ||
         faccessat(root, "usr/bin/dbus-broker", F_OK, 0) == 0;
}

GuestKind choose_kind(RunChoice wanted, const std::vector<std::string>& command, bool systemd,
                      bool has_init) {
  if (wanted == RunChoice::kInit) return GuestKind::kInit;
  if (wanted == RunChoice::kCommand) return GuestKind::kCommand;
  if (names_init(command) || systemd) return GuestKind::kInit;
  return command.empty() && has_init ? GuestKind::kInit : GuestKind::kCommand;
}

}  // namespace guest_init
