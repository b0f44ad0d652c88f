// What `layerboot run` lets a guest see.

#include <utility>

#include "launcher/cli/options_run_parts.h"
#include "launcher/host/password_hash.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxKeyBytes = 16384;

bool is_public_key(std::string_view line) {
  return line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-");
}

/// The first line of a public key's file, or such a line itself, as an image of `package` has it; what is no
/// public key is refused, a private one above all.
Result<std::string> read_ssh_key(const std::string& given) {
  if (is_public_key(given) && given.find(' ') != std::string::npos) return given;
  LB_ASSIGN(const std::string text, read_file(given, kMaxKeyBytes));
  std::string line = text.substr(0, text.find('\n'));
  if (is_public_key(line)) return line;
  return fail(EINVAL, given, " is no public key of OpenSSH");
}

void add_mount_options(CLI::App* run, Options& options) {
  add_repeated(
      run, "-v,--volume",
      [&options](const std::string& text) -> Result<void> {
        LB_ASSIGN(Volume volume, parse_volume(text));
        options.volumes.push_back(std::move(volume));
        return {};
      },
      "a directory or a file of this machine in the guest: HOST:GUEST, or NAME:GUEST for a volume that is "
      "kept here (see layerboot volume); with :ro not to be written to, with :overlay what is written stays "
      "with the VM, no more than quota=SIZE; with idmap=UID:GID files of the guest's root are that user's; "
      ":z and :Z mean nothing here (may be repeated)")
      ->type_name("VOLUME");
  add_repeated(
      run, "--mount", [&options](const std::string& text) { return parse_mount(text, options); },
      "the same in words: type=bind|volume|tmpfs,source=HOST,target=GUEST[,readonly]")
      ->type_name("WORDS");
  add_repeated(
      run, "--tmpfs",
      [&options](const std::string& text) -> Result<void> {
        LB_ASSIGN(auto tmpfs, parse_tmpfs(text));
        if (tmpfs) options.tmpfs.push_back(*std::move(tmpfs));
        return {};
      },
      "memory of the guest's as a directory: GUEST[:size=64m,mode=1777,exec]")
      ->type_name("TMPFS");
}

void add_name_options(CLI::App* run, Options& options) {
  add_repeated(
      run, "--add-host",
      [&options](const std::string& text) -> Result<void> {
        LB_ASSIGN(HostEntry entry, parse_host_entry(text));
        options.hosts.push_back(std::move(entry));
        return {};
      },
      "one more name for the guest's /etc/hosts; the address may be host-gateway, this machine")
      ->type_name("NAME:ADDRESS");
  add_repeated(
      run, "--dns",
      [&options](const std::string& text) -> Result<void> {
        if (!is_address(text)) return fail(EINVAL, "'", text, "' is no address of a resolver");
        options.dns.push_back(text);
        return {};
      },
      "the guest's resolver; default: its network's (may be repeated)")
      ->type_name("ADDRESS");
  add_repeated(
      run, "-l,--label",
      [&options](const std::string& text) -> Result<void> {
        if (text.empty() || text.starts_with('=')) return fail(EINVAL, "'", text, "': a name is missing");
        options.labels.push_back(text.find('=') == std::string::npos ? text + "=" : text);
        return {};
      },
      "NAME=VALUE to tell VMs apart by, as in ps --filter label=NAME (may be repeated)")
      ->type_name("LABEL");
}

}  // namespace

CLI::Option* add_repeated(CLI::App* run, const char* option,
                          std::function<Result<void>(const std::string&)> take, const char* help) {
  return run
      ->add_option_function<std::vector<std::string>>(
          option,
          [option, take = std::move(take)](const std::vector<std::string>& texts) {
            for (const auto& text : texts) valid(option, take(text));
          },
          help)
      ->allow_extra_args(false);
}

void add_guest_options(CLI::App* run, Options& options) {
  add_mount_options(run, options);
  add_name_options(run, options);
  add_workload_options(run, options, "the image's command");
  run->add_option("--hostname", options.hostname, "the guest's host name; default: the VM's name")
      ->type_name("NAME");
  run->add_option_function<std::string>(
         "--password",
         [&options](const std::string& password) {
           const auto hash = hash_password(password);
           valid("--password", hash);
           options.root_password_hash = *hash;
         },
         "root's password in the guest, set at each start")
      ->type_name("PASSWORD");
  run->add_flag("--autologin", options.autologin, "root is logged in at the console, there alone");
  run->add_option_function<std::vector<std::string>>(
         "--ssh-key",
         [&options](const std::vector<std::string>& files) {
           for (const auto& file : files) {
             const auto key = read_ssh_key(file);
             valid("--ssh-key", key);
             options.ssh_keys.push_back(*key);
           }
         },
         "the file of a public key, or its text, that may log in as root (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("FILE");
}

/// What is run in the guest, and how.
void add_network_options(CLI::App* run, Options& options) {
  run->add_option_function<std::vector<std::string>>(
         "--net,--network",
         [&options](const std::vector<std::string>& texts) { valid("--net", parse_nets(texts, options)); },
         "user: by way of this user (default); passt: the same, faster; tap=NAME: a tap interface that "
         "exists; none. May be repeated: a card each, -p and the default route by the first")
      ->allow_extra_args(false)
      ->type_name("user|passt|tap=NAME|none");
  add_repeated(
      run, "-p,--publish",
      [&options](const std::string& text) -> Result<void> {
        LB_ASSIGN(const auto ports, parse_published(text));
        options.published.insert(options.published.end(), ports.begin(), ports.end());
        return {};
      },
      "a port of this machine that leads to one of the guest: [[ADDRESS:]HOST:]GUEST[/udp], or ranges of "
      "them; without HOST any free one, which is said; with --net user or passt (may be repeated)")
      ->type_name("PORTS");
  run->add_flag("-P,--publish-all", options.publish_all, "each port that the image exposes, at any free one");
}

}  // namespace layerboot::launcher
