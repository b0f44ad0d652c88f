#include "launcher/cli/run_ways.h"

#include <algorithm>
#include <array>
#include <string>

#include "guest-init/workload.h"

namespace layerboot::launcher {

namespace {

constexpr unsigned kForeign = static_cast<unsigned>(RunWay::kForeignRoot);
constexpr unsigned kDisk = static_cast<unsigned>(RunWay::kDiskRoot);
constexpr unsigned kNoInit = static_cast<unsigned>(RunWay::kNoInitrd);
constexpr unsigned kBoxed = static_cast<unsigned>(RunWay::kContainer);
constexpr unsigned kStored = static_cast<unsigned>(RunWay::kPackage);
constexpr unsigned kBuilt = static_cast<unsigned>(RunWay::kBuild);

struct RunOption {
  std::string_view name;
  unsigned misfit = 0;  // of RunWay
};

/// All that `run` has, in the order of its help. What depends on an option's value is checked where the value
/// is known.
constexpr auto kRunOptions = std::to_array<RunOption>({
    {"--quiet"},
    {"--debug"},
    {"--interactive", kBuilt},
    {"--tty", kBuilt},
    {"--socket-path", kBoxed | kBuilt},
    {"--disk-image", kBoxed | kBuilt},
    {"--detach", kBoxed | kBuilt},
    {"--docker", kForeign | kNoInit | kBoxed | kBuilt},
    {"--wait", kNoInit | kBoxed | kBuilt},
    {"--wait-timeout", kNoInit | kBoxed},
    {"--rm", kBoxed | kBuilt},
    {"--restart", kBuilt},
    {"--timing", kBuilt},
    {"--ephemeral", kForeign | kBuilt},
    {"--pull", kForeign | kBoxed | kBuilt},
    {"--tls-verify", kForeign | kBoxed | kBuilt},
    {"--no-tls-verify", kForeign | kBoxed | kBuilt},
    {"--name", kBoxed | kBuilt},
    {"--disk", kForeign},
    {"--vfsd", kBoxed},
    {"--upper", kForeign | kDisk},
    {"--writeback", kForeign | kDisk},
    {"--disk-format", kBoxed | kBuilt},
    {"--oci-mount", kForeign | kBoxed},
    {"--kernel", kBoxed},
    {"--guest-init", kBoxed},
    {"--no-initrd", kBuilt},
    {"--append"},
    {"--cpus"},
    {"--memory"},
    {"--swap", kNoInit},
    {"--accel"},
    {"--require-kvm"},
    {"--machine"},
    {"--net"},
    {"--publish"},
    {"--publish-all", kForeign},
    {"--platform", kBoxed | kBuilt},
    {"--binfmt", kForeign | kDisk | kNoInit | kBoxed},
    {"--qemu", kBoxed},
    {"--boot", kBuilt},
    {"--entrypoint", kNoInit | kBuilt},
    {"--cgroup"},
    {"--socket", kNoInit},
    {"--volume"},
    {"--mount"},
    {"--tmpfs", kForeign | kNoInit},
    {"--add-host", kForeign},
    {"--dns", kForeign},
    {"--label"},
    {"--env", kNoInit | kBuilt},
    {"--env-file", kNoInit | kBuilt},
    {"--user", kNoInit | kBuilt},
    {"--workdir", kNoInit | kBuilt},
    {"--hostname", kForeign},
    {"--password", kForeign | kNoInit | kStored | kBuilt},
    {"--autologin", kForeign},
    {"--ssh-key", kForeign},
});

const RunOption* find(std::string_view name) {
  const auto* const found = std::ranges::find(kRunOptions, name, &RunOption::name);
  return found == kRunOptions.end() ? nullptr : found;
}

std::string_view reason(RunWay way) {
  switch (way) {
    case RunWay::kForeignRoot:
      return " does not go with --socket-path: the root is made and served by that daemon, not by this run";
    case RunWay::kDiskRoot:
      return " is for a root that vfsd serves, not for --disk-image";
    case RunWay::kNoInitrd:
      return " needs the initrd, whose guest-init carries it out: leave --no-initrd out";
    case RunWay::kContainer:
      return " has no meaning for a VM in a container";
    case RunWay::kBuild:
      return " has no meaning for the VMs of a build: the Containerfile says what is run in them";
    case RunWay::kPackage:
      break;
  }
  return " would be readable for everybody who has the image: give it to a container, in LAYERBOOT_OPTIONS";
}

}  // namespace

bool is_in_table(std::string_view option) { return find(option) != nullptr; }

Result<void> check_fits(RunWay way, const std::vector<GivenOption>& given) {
  for (const GivenOption& option : given) {
    const RunOption* const known = find(option.name);
    if (known == nullptr || (known->misfit & static_cast<unsigned>(way)) != 0)
      return fail(EINVAL, option.name, reason(way));
  }
  return {};
}

Result<void> check_ways(const Options& options) {
  if (!options.socket_path.empty()) LB_TRY(check_fits(RunWay::kForeignRoot, options.given));
  if (options.disk_root) LB_TRY(check_fits(RunWay::kDiskRoot, options.given));
  if (options.no_initrd) LB_TRY(check_fits(RunWay::kNoInitrd, options.given));
  // Of --mount, too.
  const bool has_tmpfs = !options.tmpfs.empty();
  if (has_tmpfs && !options.socket_path.empty()) return fail(EINVAL, "a tmpfs", reason(RunWay::kForeignRoot));
  if (!options.no_initrd) return {};
  const auto& command = options.guest_command;
  const bool has_command = !command.empty() && !guest_init::names_init(command);
  if (has_tmpfs) return fail(EINVAL, "a tmpfs", reason(RunWay::kNoInitrd));
  if (has_command) return fail(EINVAL, "a COMMAND", reason(RunWay::kNoInitrd));
  if (options.boot == Boot::kCommand) return fail(EINVAL, "--boot command", reason(RunWay::kNoInitrd));
  return {};
}

}  // namespace layerboot::launcher
