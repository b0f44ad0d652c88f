#include "launcher/cli/ssh_command.h"

#include <unistd.h>

#include <filesystem>

#include "launcher/cli/exec_command.h"
#include "launcher/cli/guest_lines.h"
#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/signals.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/bytes.h"
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
    "umask 077; printf '%s\\n' \"$LAYERBOOT_HOST_KEY\" >$d/host_key || exit 1\n"
    "umask 022; unset LAYERBOOT_KEYS LAYERBOOT_HOST_KEY\n";
constexpr const char* kServe =
    "exec \"$sshd\" -i -o HostKey=$d/host_key -o PidFile=none -o PermitRootLogin=prohibit-password\\\n"
    " -o AuthorizedKeysFile=\"$d/authorized_keys .ssh/authorized_keys\"\n";

fs::path key_directory(const StateDirs& dirs, const std::string& name) { return dirs.vms() / name / "ssh"; }

/// A key pair of the VM's own, made at the first need: the user's is id_ed25519, sshd's host_key.
Result<fs::path> ready_key(const StateDirs& dirs, const std::string& name, const char* file) {
  const fs::path key = key_directory(dirs, name) / file;
  std::error_code ignored;
  if (fs::exists(key, ignored)) return key;
  LB_TRY(make_directories(key.parent_path(), 0700));
  LB_TRY(run_tool({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "layerboot", "-f", key.string()}));
  return key;
}

/// What the guest's sshd is given: who may come in, and what it shows that it is the one that was meant.
struct GuestKeys {
  std::string authorized;
  std::string host_key;  // private
};

guest_init::SessionRequest script_request(std::string script, const GuestKeys& keys) {
  guest_init::SessionRequest request;
  request.arguments = {"/bin/sh", "-c", std::move(script)};
  request.environment = {str_cat("LAYERBOOT_KEYS=", keys.authorized),
                         str_cat("LAYERBOOT_HOST_KEY=", keys.host_key)};
  // Whoever the image's user is: sshd is root's.
  request.user = "0";
  request.directory = "/";
  return request;
}

Result<GuestKeys> guest_keys(const StateDirs& dirs, const std::string& name) {
  LB_ASSIGN(const fs::path key, ready_key(dirs, name, "id_ed25519"));
  LB_ASSIGN(const std::string own, read_file(key.string() + ".pub", kMaxKeyBytes));
  LB_ASSIGN(const VmRecord record, load_vm_record(VmPaths(dirs, name)));
  LB_ASSIGN(const fs::path host_key, ready_key(dirs, name, "host_key"));
  LB_ASSIGN(std::string host_key_text, read_file(host_key, kMaxKeyBytes));
  return GuestKeys{own + authorized_keys(record.run), std::move(host_key_text)};
}

/// The file by which ssh knows the VM's sshd.
Result<fs::path> write_known_hosts(const StateDirs& dirs, const std::string& name, const std::string& alias) {
  LB_ASSIGN(const std::string public_key,
            read_file((key_directory(dirs, name) / "host_key.pub"), kMaxKeyBytes));
  const fs::path path = key_directory(dirs, name) / "known_hosts";
  LB_TRY(write_whole_file(path, str_cat(alias, " ", public_key), 0600));
  return path;
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

/// In double quotes, as ssh takes one word of a setting. '%' is ssh's own.
std::string ssh_word(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
    if (c == '%') out += c;
  }
  return out += '"';
}

}  // namespace

std::vector<std::string> ssh_settings(const std::string& proxy, const std::string& alias,
                                      const fs::path& known_hosts) {
  return {
      str_cat("ProxyCommand=", proxy),
      // Its sshd has the key that we gave it, whatever the user's own settings say of unknown hosts.
      str_cat("HostKeyAlias=", alias), str_cat("UserKnownHostsFile=", ssh_word(known_hosts.string())),
      "GlobalKnownHostsFile=/dev/null", "HostKeyAlgorithms=ssh-ed25519", "StrictHostKeyChecking=yes",
      "UpdateHostKeys=no", "LogLevel=ERROR",
      // It knows the key that comes with us: a guest that asks for a password asks for somebody's.
      "PreferredAuthentications=publickey", "PasswordAuthentication=no", "KbdInteractiveAuthentication=no",
      // A connection that is kept open to a machine of the VM's name is not to the VM.
      "ControlMaster=no", "ControlPath=none",
      // A guest gets no use of the user's keys or screen.
      "IdentitiesOnly=yes", "IdentityAgent=none", "ForwardAgent=no", "ForwardX11=no", "ForwardX11Trusted=no",
      // Nor ports and networks of this machine, or of what it reaches, that the user lets other machines
      // have.
      "ClearAllForwardings=yes", "Tunnel=no"};
}

Result<int> ssh_proxy(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const GuestKeys keys, guest_keys(dirs, options.name));
  LB_ASSIGN(const auto words, GuestLines::begin());
  return run_session(dirs, options.name, script_request(str_cat(kPrepare, kServe), keys),
                     {.input = STDIN_FILENO, .output = STDOUT_FILENO, .error = words->fd()});
}

Result<int> ssh_into_vm(const StateDirs& dirs, const Options& options) {
  const std::string& name = options.name;
  LB_ASSIGN(const fs::path ssh, find_in_path("ssh"));
  LB_TRY(check_vm_runs(dirs, name));
  LB_ASSIGN(const GuestKeys keys, guest_keys(dirs, name));
  LB_ASSIGN(auto complaints, GuestLines::begin());
  LB_ASSIGN(const int prepared,
            run_own_session(dirs, name, script_request(kPrepare, keys),
                            {.input = -1, .output = complaints->fd(), .error = complaints->fd()}));
  complaints.reset();
  if (prepared == kNoSshd || prepared == kNoShell) {
    return fail(ENOENT, "the image of VM ", name,
                " has no sshd: put openssh-server into it, or use 'layerboot exec ", name, "'");
  }
  if (prepared != 0) return fail(EIO, "VM ", name, " is not ready for ssh: see above");
  const std::string alias = str_cat("layerboot-", name);
  LB_ASSIGN(const fs::path known_hosts, write_known_hosts(dirs, name, alias));
  LB_ASSIGN(const fs::path self, own_program());
  std::vector<std::string> argv = {ssh.string()};
  const std::string proxy = str_cat(shell_word(self.string()), " ssh --proxy ", name);
  for (const std::string& setting : ssh_settings(proxy, alias, known_hosts)) {
    argv.insert(argv.end(), {"-o", setting});
  }
  argv.insert(argv.end(), {"-i", (key_directory(dirs, name) / "id_ed25519").string(), "-l",
                           options.user.empty() ? "root" : options.user, "--", name});
  const auto& words = options.guest_command;
  argv.insert(argv.end(), words.begin(), words.end());
  restore_idle_signals();
  ::execv(ssh.c_str(), exec_pointers(argv).data());
  return errno_error("cannot run ", ssh.string());
}

}  // namespace layerboot::launcher
