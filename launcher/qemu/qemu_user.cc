#include "launcher/qemu/qemu_user.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "launcher/host/child.h"
#include "launcher/host/pid_namespace.h"
#include "launcher/qemu/option_value.h"
#include "launcher/qemu/qemu_version.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

bool has_user_network(const RunSettings& settings) {
  return settings.net == Net::kUser ||
         std::ranges::any_of(settings.more_nets, [](const NetCard& card) { return card.kind == Net::kUser; });
}

Result<HeldUser> stays_root(std::string_view why) {
  log_debug("QEMU runs as root: ", why);
  return HeldUser();
}

}  // namespace

Result<HeldUser> choose_qemu_user(const StateDirs& dirs, const std::filesystem::path& qemu,
                                  VmConfig& config) {
  if (::geteuid() != 0) return HeldUser();
  if (config.qemu_major == 0) config.qemu_major = qemu_major(qemu_version(qemu).value_or(""));
  if (config.qemu_major == 0) return stays_root("its version is not known");
  if (auto can = PidNamespace::make(); !can) return stays_root(can.error().describe());
  LB_ASSIGN(FreeUser user, free_user(dirs.runtime, config.machine_id));
  if (user.id == 0) return stays_root("no user id is free for it");
  config.qemu_uid = user.id;
  // QEMU's user network asks /etc/resolv.conf for the host's resolvers at any time.
  if (has_user_network(config)) return std::move(user.held);
  config.qemu_root = dirs.runtime / ".empty";
  LB_TRY(make_directories(config.qemu_root, 0755));
  return std::move(user.held);
}

int qemu_apart_from(const VmConfig& config) {
  if (config.qemu_uid == 0) return 0;
  const bool is_at_hosts = config.net == Net::kUser || config.net == Net::kTap || !config.more_nets.empty();
  int namespaces = 0;
  const auto add = [&namespaces](int one, std::string_view of_host) {
    if (can_be_apart(one)) {
      namespaces |= one;
    } else {
      log_debug("QEMU can't be kept apart from the host's ", of_host, ": no namespace for that here");
    }
  };
  add(CLONE_NEWIPC, "IPC");
  add(CLONE_NEWUTS, "name");
  if (!is_at_hosts) add(CLONE_NEWNET, "network");
  return namespaces;
}

std::vector<std::string> qemu_user_args(const VmConfig& config) {
  constexpr unsigned kChrootIsRunWith = 9;
  constexpr unsigned kUserIsRunWith = 10;
  if (config.qemu_uid == 0) return {};
  const std::string user = str_cat(config.qemu_uid, ':', config.qemu_uid);
  const std::string chroot =
      config.qemu_root.empty() ? "" : str_cat("chroot=", escape_commas(config.qemu_root.string()));
  if (config.qemu_major >= kUserIsRunWith)
    return {"-run-with", str_cat("user=", user, chroot.empty() ? "" : ",", chroot)};
  if (chroot.empty()) return {"-runas", user};
  if (config.qemu_major >= kChrootIsRunWith) return {"-runas", user, "-run-with", chroot};
  return {"-runas", user, "-chroot", config.qemu_root.string()};
}

}  // namespace layerboot::launcher
