#include "launcher/cli/options_parts.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>

#include "launcher/cli/console_text.h"
#include "launcher/host/time_text.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/size.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxEnvFileBytes = 2 << 20;

/// A variable without a value is handed on from our own environment; none where we have none either.
std::optional<std::string> environment_entry(const std::string& text) {
  if (text.find('=') != std::string::npos) return text;
  const char* value = std::getenv(text.c_str());
  if (value == nullptr) return std::nullopt;
  return str_cat(text, '=', value);
}

/// As /proc/PID/environ has it, and `env -0`: a value may have lines, and begin as it likes.
Result<void> take_env_records(const std::string& file, std::string_view text, Options& options) {
  while (!text.empty()) {
    const std::string_view record = text.substr(0, text.find('\0'));
    text.remove_prefix(std::min(text.size(), record.size() + 1));
    if (record.empty()) continue;
    // What is wrong may be a secret.
    if (record.find('=') == std::string_view::npos || record.starts_with('='))
      return fail(EINVAL, file, ": one of its records is no NAME=VALUE");
    options.file_environment.emplace_back(record);
  }
  return {};
}

/// The lines of a file, as Docker's: NAME=VALUE or NAME, what begins with '#' is skipped, quotes are kept.
/// One with a NUL in it is of records that end with such.
Result<void> read_env_file(const std::string& file, Options& options) {
  LB_ASSIGN(const std::string text, read_file(file, kMaxEnvFileBytes));
  if (text.contains('\0')) return take_env_records(file, text, options);
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(" \t")));
    if (line.empty() || line.starts_with('#')) continue;
    const std::string_view name = line.substr(0, line.find('='));
    if (name.empty() || name.find_first_of(" \t") != std::string_view::npos) {
      return fail(EINVAL, file, ": '", line, "' is no NAME=VALUE");
    }
    if (auto entry = environment_entry(std::string(line)))
      options.file_environment.push_back(*std::move(entry));
  }
  return {};
}

}  // namespace

Result<void> settle_environment(Options& options) {
  auto& environment = options.environment;
  environment.insert(environment.begin(), options.file_environment.begin(), options.file_environment.end());
  for (const std::string& entry : environment) {
    if (entry.starts_with('=')) return fail(EINVAL, "--env ", entry, ": a name is missing");
  }
  return {};
}

namespace {

bool may_list(Command command) {
  return command == Command::kPs || command == Command::kImages || command == Command::kVolume;
}

/// What -q makes names alone of, as Docker's.
bool lists_in_columns(const Options& options) {
  const bool lists =
      may_list(options.command) && (options.command != Command::kVolume || options.action == "ls");
  return lists && !options.json && !options.image_tree && options.format.empty();
}

}  // namespace

CLI::App* CommandSet::add(const char* name, Command command, const char* help, Check check) {
  return add_to(&app_, name, command, help, std::move(check));
}

CLI::App* CommandSet::add_group(const char* name, const char* help) {
  CLI::App* group = app_.add_subcommand(name, help);
  group->require_subcommand(1);
  return group;
}

CLI::App* CommandSet::add_to(CLI::App* group, const char* name, Command command, const char* help,
                             Check check) {
  CLI::App* added = group->add_subcommand(name, help);
  auto* quiet = added->add_flag(
      "-q,--quiet", quiet_,
      may_list(command) ? "only errors and warnings; of a list the names alone" : "only errors and warnings");
  added->add_flag("--debug", debug_, "everything, and a talkative guest")->excludes(quiet);
  entries_.push_back({.app = added, .command = command, .check = std::move(check)});
  return added;
}

Result<void> CommandSet::settle() {
  if (quiet_) options_.log_level = LogLevel::kWarn;
  if (debug_) options_.log_level = LogLevel::kDebug;
  for (const Entry& entry : entries_) {
    if (!entry.app->parsed()) continue;
    options_.command = entry.command;
    if (quiet_ && lists_in_columns(options_)) options_.names_only = true;
    return entry.check ? entry.check(options_) : Result<void>();
  }
  std::string names;
  for (const CLI::App* command : app_.get_subcommands(nullptr))
    names += str_cat(names.empty() ? "" : ", ", command->get_name());
  return fail(EINVAL, "give a command: ", names);
}

void add_kernel_options(CLI::App* command, Options& options) {
  command->add_option("--kernel", options.kernel, "the kernel to boot")
      ->type_name("SPEC")
      ->capture_default_str();
  command->add_option("--guest-init", options.guest_init, "guest-init to put into the initrd")
      ->type_name("FILE");
}

namespace {

/// What there is a machine for. Docker takes an architecture alone, too.
Result<void> take_platform(const std::string& text, std::string& taken) {
  LB_ASSIGN(const auto platform,
            store::parse_platform(text.find('/') == std::string::npos ? "linux/" + text : text));
  LB_TRY(architecture_for(platform));
  taken = platform == store::host_platform() ? "" : store::platform_text(platform);
  return {};
}

}  // namespace

void add_platform_option(CLI::App* command, Options& options, const char* help) {
  command
      ->add_option_function<std::string>(
          "--platform",
          [&options](const std::string& text) {
            if (const auto taken = take_platform(text, options.platform); !taken)
              throw CLI::ValidationError("--platform", taken.error().describe());
          },
          help)
      ->type_name("linux/ARCH");
}

CLI::Option* add_size(CLI::App* command, const char* option, std::function<void(std::uint64_t)> store,
                      const char* help, std::uint64_t least_bytes) {
  return command
      ->add_option_function<std::string>(
          option,
          [store = std::move(store), option, least_bytes](const std::string& text) {
            const auto size_bytes = parse_size(text);
            if (!size_bytes) throw CLI::ValidationError(option, size_bytes.error().describe());
            if (*size_bytes < least_bytes) {
              throw CLI::ValidationError(
                  option, str_cat(text, " is ", *size_bytes, " bytes: at least ", least_bytes >> 20U,
                                  "M is needed; G and M are meant as in 4G or 512M"));
            }
            store(*size_bytes);
          },
          help)
      ->type_name("SIZE");
}

CLI::Option* add_time(CLI::App* command, const char* option, std::optional<std::int64_t>& seconds,
                      const char* help) {
  return command
      ->add_option_function<std::string>(
          option,
          [&seconds, option](const std::string& text) {
            const auto moment = parse_since(text, seconds_now());
            if (!moment) throw CLI::ValidationError(option, moment.error().describe());
            seconds = *moment;
          },
          help)
      ->type_name("TIME");
}

CLI::Option* add_disk_size(CLI::App* command, const char* option, std::function<void(std::uint64_t)> store,
                           const char* help) {
  return add_size(command, option, std::move(store), help, kMinQuotaBytes);
}

void add_disk_options(CLI::App* command, Options& options) {
  command
      ->add_option("--name", options.name,
                   "the VM's name; default: from the image, with -disk for --disk-image")
      ->type_name("NAME");
  add_disk_size(
      command, "--disk,--quota", [&options](std::uint64_t size_bytes) { options.quota_bytes = size_bytes; },
      "what the VM may write, at most; default: as before, or 4G for a new VM");
  command->add_option("--vfsd", options.vfsd, "the file system daemon to start")->type_name("FILE");
}

CLI::Option* add_writeback_option(CLI::App* command, Options& options) {
  return command->add_flag(
      "--writeback", options.writeback,
      "the guest keeps what it writes for a while: faster for small writes, a full disk shows late");
}

void add_program_options(CLI::App* command, Options& options) {
  command->add_option("--vfsd", options.vfsd, "the file system daemon to start")->type_name("FILE");
  command->add_option("--guest-init", options.guest_init, "guest-init to put into the initrd")
      ->type_name("FILE");
  command->add_option("--qemu", options.qemu, "the QEMU to start")->type_name("FILE");
}

Result<void> settle_name(Options& options) {
  options.name_given = !options.name.empty();
  // A VM on a disk is another one than that on virtiofs: each keeps what it has written in its own way.
  constexpr std::string_view kOnDisk = "-disk";
  if (options.name.empty())
    options.name = options.image.empty() ? "virtiofs" : name_from_image(options.image);
  if (!options.name_given && options.disk_root) {
    options.name =
        str_cat(std::string_view(options.name).substr(0, kMaxNameLength - kOnDisk.size()), kOnDisk);
  }
  return check_name(options.name);
}

void add_workload_options(CLI::App* command, Options& options, const std::string& whose) {
  command
      ->add_option_function<std::vector<std::string>>(
          "-e,--env",
          [&options](const std::vector<std::string>& texts) {
            for (const auto& text : texts) {
              if (auto entry = environment_entry(text)) options.environment.push_back(*std::move(entry));
            }
          },
          str_cat("NAME=VALUE for ", whose, "; NAME alone takes ours, if there is one (may be repeated)"))
      ->allow_extra_args(false)
      ->type_name("VARIABLE");
  command
      ->add_option_function<std::vector<std::string>>(
          "--env-file",
          [&options](const std::vector<std::string>& files) {
            for (const auto& file : files) {
              const auto read = read_env_file(file, options);
              if (!read) throw CLI::ValidationError("--env-file", read.error().describe());
            }
          },
          "a file of such lines; --env counts more (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command->add_option("-u,--user", options.user, str_cat("who runs ", whose, "; default: as the image says"))
      ->type_name("USER[:GROUP]");
  command
      ->add_option_function<std::string>(
          "-w,--workdir",
          [&options](const std::string& directory) {
            if (!directory.starts_with('/')) {
              throw CLI::ValidationError("--workdir",
                                         str_cat("'", directory, "' is not absolute: write /", directory));
            }
            options.workdir = directory;
          },
          str_cat("where ", whose, " runs; default: as it says"))
      ->type_name("DIR");
}

}  // namespace layerboot::launcher
