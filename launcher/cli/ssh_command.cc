#include "launcher/cli/ssh_command.h"

#include <unistd.h>

#include <filesystem>

#include "launcher/cli/exec_command.h"
#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/signals.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/exec_pointers.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxKeyBytes = 16384;
constexpr int kNoSshd = 67;  // the script's own; no shell's
constexpr int kNoShell = 127;

// In the guest. /usr/lib/ssh is where Arch and Alpine relatives keep it.
constexpr const char* kPrepare =
    "umask 022; d=/run/layerboot/ssh; sshd=$(command -v sshd) ||\n"
    "for f in /usr/sbin/sshd /usr/local/sbin/sshd /usr/lib/ssh/sshd; do [ -x $f ] && sshd=$f && break; done\n"
    "[ -n \"$sshd\" ] || exit 67\n"
    "mkdir -p $d /run/sshd && printf '%s\\n' \"$LAYERBOOT_KEYS\" >$d/authorized_keys || exit 1\n"
    "[ -s $d/host_key ] || ssh-keygen -q -t ed25519 -N '' -f $d/host_key\n";
constexpr const char* kServe =
    "exec \"$sshd\" -i -o HostKey=$d/host_key -o PidFile=none -o PermitRootLogin=prohibit-password\\\n"
    " -o AuthorizedKeysFile=\"$d/authorized_keys .ssh/authorized_keys\"\n";

fs::path key_directory(const StateDirs& dirs, const std::string& name) { return dirs.vms() / name / "ssh"; }

/// The VM's own key pair, made at the first need.
Result<fs::path> ready_key(const StateDirs& dirs, const std::string& name) {
  const fs::path key = key_directory(dirs, name) / "id_ed25519";
  std::error_code ignored;
  if (fs::exists(key, ignored)) return key;
  LB_TRY(make_directories(key.parent_path(), 0700));
  LB_TRY(run_tool({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "layerboot", "-f", key.string()}));
  return key;
}

guest_init::SessionRequest script_request(std::string script, const std::string& keys) {
  guest_init::SessionRequest request;
  request.arguments = {"/bin/sh", "-c", std::move(script)};
  request.environment = {str_cat("LAYERBOOT_KEYS=", keys)};
  // Whoever the image's user is: sshd is root's.
  request.user = "0";
  request.directory = "/";
  return request;
}

/// The VM's own, and those that it was run with.
Result<std::string> public_keys(const StateDirs& dirs, const std::string& name) {
  LB_ASSIGN(const fs::path key, ready_key(dirs, name));
  LB_ASSIGN(const std::string own, read_file(key.string() + ".pub", kMaxKeyBytes));
  LB_ASSIGN(const VmRecord record, load_vm_record(VmPaths(dirs, name)));
  return own + authorized_keys(record.run);
}

/// In single quotes, for the shell that ssh gives its ProxyCommand to. '%' is ssh's own.
std::string shell_word(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
      if (c == '%') out += c;
    }
  }
  return out += "'";
}

}  // namespace

Result<int> ssh_proxy(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const std::string keys, public_keys(dirs, options.name));
  return run_session(dirs, options.name, script_request(str_cat(kPrepare, kServe), keys),
                     {.input = STDIN_FILENO, .output = STDOUT_FILENO, .error = STDERR_FILENO});
}

Result<int> ssh_into_vm(const StateDirs& dirs, const Options& options) {
  const std::string& name = options.name;
  LB_ASSIGN(const fs::path ssh, find_in_path("ssh"));
  LB_TRY(check_vm_runs(dirs, name));
  LB_ASSIGN(const std::string keys, public_keys(dirs, name));
  LB_ASSIGN(const int prepared, run_session(dirs, name, script_request(kPrepare, keys), {}));
  if (prepared == kNoSshd || prepared == kNoShell) {
    return fail(ENOENT, "the image of VM ", name,
                " has no sshd: put openssh-server into it, or use 'layerboot exec ", name, "'");
  }
  if (prepared != 0) return fail(EIO, "VM ", name, " is not ready for ssh: see above");
  std::error_code ignored;
  const std::string self = fs::read_symlink("/proc/self/exe", ignored).string();
  std::vector<std::string> argv = {
      ssh.string(), "-o", str_cat("ProxyCommand=", shell_word(self), " ssh --proxy ", name), "-o",
      str_cat("HostKeyAlias=layerboot-", name),
      // The way there is a device of this machine, and the key is new with each boot.
      "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
      "IdentitiesOnly=yes", "-i", (key_directory(dirs, name) / "id_ed25519").string(), "-l",
      options.user.empty() ? "root" : options.user, "--", name};
  const auto& words = options.guest_command;
  argv.insert(argv.end(), words.begin(), words.end());
  restore_idle_signals();
  ::execv(ssh.c_str(), exec_pointers(argv).data());
  return errno_error("cannot run ", ssh.string());
}

}  // namespace layerboot::launcher
