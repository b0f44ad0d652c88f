#include "launcher/export/systemd_unit.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "launcher/export/kubernetes_set.h"
#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

/// The launcher's own 90 s for the guest and 30 s for the daemons, and some to spare.
constexpr unsigned kStopSeconds = 130;
/// What a command's VM ends with that was stopped before its command had ended.
constexpr int kStoppedStatus = 143;

/// A word of a unit's line, in which '$' means itself: quoted, and nothing in it is a specifier.
std::string word(std::string_view text) {
  std::string escaped = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    if (c == '%') escaped += c;
    escaped += c;
  }
  return escaped + '"';
}

/// One of a command's arguments, in which systemd puts in variables; in the program's path it does not.
std::string argument(std::string_view text) {
  std::string escaped = word(text);
  for (std::size_t at = 0; (at = escaped.find('$', at)) != std::string::npos; at += 2)
    escaped.insert(at, "$");
  return escaped;
}

/// What a line can't hold, even in quotes.
Result<void> check_text(std::string_view text) {
  const bool is_plain =
      std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (is_plain) return {};
  return fail(EINVAL, "'", printable(text),
              "' has control characters in it, which no unit of systemd's can name");
}

/// Where the VM writes, but for what the unit has made for it.
std::set<fs::path> written_paths(const SystemdService& service) {
  std::set<fs::path> paths = {service.dirs.data, service.dirs.cache};
  for (const Volume& volume : service.run.volumes) {
    if (volume.kind == VolumeKind::kShared && !volume.host.empty()) paths.insert(volume.host);
  }
  for (const SharedSocket& socket : service.run.sockets) paths.insert(fs::path(socket.host).parent_path());
  return paths;
}

bool is_at_or_below(std::string_view path, std::string_view top) {
  return path == top || path.starts_with(str_cat(top, '/'));
}

/// The path in a reference or a kernel's name, such as oci:/images/web:1; empty where there is none.
std::string_view path_in(std::string_view text) {
  if (text.starts_with('/')) return text;
  const auto at = text.find(":/");
  return at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
}

/// All that the VM is made of and reached by, as far as it has a path.
std::set<std::string> used_paths(const SystemdService& service) {
  std::set<std::string> paths = {service.layerboot.string(), service.dirs.runtime.string(),
                                 std::string(path_in(service.image)),
                                 std::string(path_in(service.run.kernel))};
  for (const fs::path& path : written_paths(service)) paths.insert(path.string());
  for (const Volume& volume : service.run.volumes) paths.insert(volume.host);
  for (const std::string& option : service.options) paths.insert(option);
  return paths;
}

/// The private directories would hide what the VM is made of.
bool uses_temporary(const SystemdService& service) {
  return std::ranges::any_of(used_paths(service), [](const std::string& path) {
    return is_at_or_below(path, "/tmp") || is_at_or_below(path, "/var/tmp");
  });
}

std::string directories(const SystemdService& service) {
  std::string lines;
  for (const auto& [variable, path] :
       {std::pair{"XDG_DATA_HOME", service.dirs.data}, std::pair{"XDG_CACHE_HOME", service.dirs.cache},
        std::pair{"XDG_RUNTIME_DIR", service.dirs.runtime}}) {
    lines += str_cat("Environment=", word(str_cat(variable, '=', path.parent_path().string())), '\n');
  }
  return lines;
}

/// What all of the VM's processes may take: a daemon or QEMU that was taken over is to end its own VM, not
/// the host. Page cache counts and is given back; what is counted here is what can't be.
std::uint64_t most_memory_bytes(const RunSettings& run) {
  const bool may_be_emulated = !run.require_kvm && run.accel_choice != AccelChoice::kKvm;
  const std::uint64_t daemons = run.volumes.size() + (run.disk_root ? 0 : 1);
  return run.memory_bytes + vm_overhead_bytes(may_be_emulated) + daemons * MemoryBudget::kDefaultLimitBytes;
}

/// Of a service of the system's. What is not here is what a VM is made with: vfsd walls itself in by
/// namespaces and mounts, keeps guests' set-id files and owners, and an emulator writes the code that it
/// runs.
std::string hardening(const SystemdService& service) {
  std::string lines =
      "NoNewPrivileges=yes\n"
      "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL "
      "CAP_MKNOD CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID "
      "CAP_SYS_ADMIN CAP_SYS_CHROOT\n"
      "DevicePolicy=closed\n"
      "DeviceAllow=/dev/kvm rw\n"
      "DeviceAllow=/dev/net/tun rw\n"
      "ProtectSystem=strict\n"
      "ProtectClock=yes\n"
      "ProtectControlGroups=yes\n"
      "ProtectHostname=yes\n"
      "ProtectKernelLogs=yes\n"
      "ProtectKernelModules=yes\n"
      "ProtectKernelTunables=yes\n"
      "LockPersonality=yes\n"
      "RestrictRealtime=yes\n"
      "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n"
      "SystemCallArchitectures=native\n"
      "SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap\n"
      "SystemCallErrorNumber=EPERM\n"
      "UMask=0077\n";
  if (!uses_temporary(service)) lines += "PrivateTmp=yes\n";
  for (const fs::path& path : written_paths(service)) {
    // A path that is not there would keep the service from starting.
    lines += str_cat("ReadWritePaths=-", word(path.string()), '\n');
  }
  if (service.dirs.runtime == "/run/layerboot") {
    lines += "RuntimeDirectory=layerboot\nRuntimeDirectoryPreserve=yes\n";
  } else {
    lines += str_cat("ReadWritePaths=-", word(service.dirs.runtime.parent_path().string()), '\n');
  }
  return lines;
}

}  // namespace

Result<std::string> systemd_unit(const SystemdService& service) {
  for (const std::string& path : used_paths(service)) LB_TRY(check_text(path));
  std::string command = word(service.layerboot.string()) + " start --attach";
  for (const std::string& option : service.options) command += str_cat(' ', argument(option));
  std::string unit = str_cat("# Made by 'layerboot export systemd ", service.name,
                             "'. The VM is started as it was last run.\n", "[Unit]\n", "Description=VM ",
                             service.name, " of Layerboot\n", "Documentation=man:layerboot(1)\n",
                             "Wants=network-online.target\n", "After=network-online.target\n");
  for (const fs::path& path : written_paths(service))
    unit += str_cat("RequiresMountsFor=", word(path.string()), '\n');
  unit += str_cat("\n[Service]\n", "Type=exec\n", "ExecStart=", command, ' ', argument(service.name), '\n',
                  directories(service), "SuccessExitStatus=", kStoppedStatus, '\n',
                  // The launcher alone is asked, who powers the guest off before it stops the daemons.
                  "KillMode=mixed\n", "TimeoutStopSec=", kStopSeconds, '\n', "Restart=on-failure\n",
                  "RestartSec=5\n", "OOMPolicy=stop\n",
                  // Guest, QEMU, and each daemon at its limit.
                  "MemoryMax=", most_memory_bytes(service.run), '\n');
  if (!service.is_user) unit += hardening(service);
  unit += str_cat("\n[Install]\nWantedBy=", service.is_user ? "default.target" : "multi-user.target", '\n');
  return unit;
}

}  // namespace layerboot::launcher
