#include "launcher/vm/guest_plan.h"

#include <algorithm>

#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

using guest_init::GuestKind;

namespace {

std::vector<std::string> command_of(const VmConfig& config) {
  return guest_init::main_command(config.workload, main_request(config));
}

/// Somebody who asks for a shell of guest-init's, or for another init, wants the console.
bool asks_for_init(std::string_view append, std::string_view ending) {
  while (!append.empty()) {
    const std::string_view word = append.substr(0, append.find(' '));
    append.remove_prefix(std::min(append.size(), word.size() + 1));
    if (word == "single" || (word.starts_with("init=") && word.ends_with(ending))) return true;
  }
  return false;
}

/// As the kernel's command line takes it: in quotes where there are blanks.
Result<std::string> kernel_word(const std::string& text) {
  const bool good = std::ranges::none_of(
      text, [](char c) { return c == '"' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (!good || text.empty()) {
    return fail(EINVAL, "'", text,
                "' can't be an argument of the guest's init: it has to fit the kernel's command line");
  }
  return text.find(' ') == std::string::npos ? text : str_cat('"', text, '"');
}

}  // namespace

guest_init::SessionRequest main_request(const VmConfig& config) {
  guest_init::SessionRequest request;
  request.main = true;
  request.arguments = config.guest_command;
  request.entrypoint = config.entrypoint;
  request.environment = config.environment;
  request.user = config.user;
  request.directory = config.workdir;
  return request;
}

std::optional<GuestKind> expected_guest(const VmConfig& config) {
  // Without an initrd the kernel starts the image's init, and no agent ever answers.
  if (config.no_initrd || config.boot == Boot::kInit || asks_for_init(config.append, ""))
    return GuestKind::kInit;
  if (config.boot == Boot::kCommand) return GuestKind::kCommand;
  const auto command = command_of(config);
  if (guest_init::names_init(command)) return GuestKind::kInit;
  if (!config.guest_command.empty() || config.entrypoint) return GuestKind::kCommand;
  if (config.image.empty() || !command.empty()) return std::nullopt;
  return GuestKind::kInit;
}

bool boots_into_shell(std::string_view append) { return asks_for_init(append, "sh"); }

std::string guest_arguments(const VmConfig& config) {
  std::string line = " layerboot.agent";
  const auto kind = expected_guest(config);
  if (config.boot != Boot::kAuto || kind == GuestKind::kCommand)
    line += kind == GuestKind::kCommand ? " layerboot.run=command" : " layerboot.run=init";
  if (config.net != Net::kNone) {
    line += str_cat(" layerboot.net=", config.net == Net::kUser ? "user" : "dhcp");
    for (const NetCard& card : config.more_nets) line += card.kind == Net::kUser ? ",user" : ",dhcp";
  }
  if (config.shell_once) line += " layerboot.shell=once";
  if (!config.dns.empty()) line += " layerboot.resolver=image";
  if (config.cgroup_v1) {
    line +=
        " layerboot.cgroup=1 systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1"
        " SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1";
  }
  return line;
}

Result<std::string> init_arguments(const VmConfig& config) {
  // The image's own are in the VM layer; these are the person's.
  const auto command = command_of(config);
  if (config.guest_command.empty() || !guest_init::names_init(command)) return std::string();
  LB_ASSIGN(std::string line, kernel_word(command.front()));
  line = str_cat(" init=", line, " --");
  for (std::size_t i = 1; i < command.size(); ++i) {
    LB_ASSIGN(const std::string word, kernel_word(command[i]));
    line += str_cat(' ', word);
  }
  return line;
}

}  // namespace layerboot::launcher
