// What the files that describe layerboot's subcommands share. Each of options_*.cc adds its own.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "launcher/cli/options.h"
#include "oci-mount/base/choice_option.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// The subcommands, as they are being described: CLI11 fills in `options` (lent), and each command then
/// checks what needs more than one option, or our own parsers.
class CommandSet {
 public:
  using Check = std::function<Result<void>(Options&)>;

  CommandSet(CLI::App& app, Options& options) : app_(app), options_(options) {}

  /// A subcommand with --quiet and --debug, which every one has. `check` runs when this command was given.
  CLI::App* add(const char* name, Command command, const char* help, Check check = {});
  /// The same of a word that comes after one of `group`.
  CLI::App* add_to(CLI::App* group, const char* name, Command command, const char* help, Check check = {});
  /// A first word that needs a second: to be filled by add_to().
  CLI::App* add_group(const char* name, const char* help);
  [[nodiscard]] Options& options() { return options_; }
  /// After parsing: sets `command`, and runs its check. EINVAL when no command was given.
  Result<void> settle();

 private:
  struct Entry {
    CLI::App* app;
    Command command;
    Check check;
  };

  CLI::App& app_;
  Options& options_;
  std::vector<Entry> entries_;
  bool quiet_ = false;
  bool debug_ = false;
};

/// --kernel and --guest-init.
void add_kernel_options(CLI::App* command, Options& options);
/// --platform, of a machine.
void add_platform_option(CLI::App* command, Options& options,
                         const char* help =
                             "whose programs the image holds, if not this machine's: which of an "
                             "image for several is taken, and which machine is emulated");
/// --vfsd, --guest-init and --qemu.
void add_program_options(CLI::App* command, Options& options);
/// --name, --disk and --vfsd.
void add_disk_options(CLI::App* command, Options& options);
/// --pull, --tls-verify.
void add_pull_options(CLI::App* command, Options& options);
/// --tls-verify, --no-tls-verify.
void add_tls_options(CLI::App* command, Options& options);
/// --writeback.
CLI::Option* add_writeback_option(CLI::App* command, Options& options);
/// --env, --user and --workdir, for what `whose` says.
void add_workload_options(CLI::App* command, Options& options, const std::string& whose);
/// After parsing: what --env-file gave comes before what --env did. EINVAL for a variable without a name.
Result<void> settle_environment(Options& options);
/// An option that takes a size such as 4G; `store` gets the bytes. Less than `least_bytes` is refused.
CLI::Option* add_size(CLI::App* command, const char* option, std::function<void(std::uint64_t)> store,
                      const char* help, std::uint64_t least_bytes = 1);
/// An option that takes what a VM may write, or a disk's size: `least_bytes` is kMinQuotaBytes.
CLI::Option* add_disk_size(CLI::App* command, const char* option, std::function<void(std::uint64_t)> store,
                           const char* help);
/// An option that takes a moment, as `docker logs --since` does (parse_since()).
CLI::Option* add_time(CLI::App* command, const char* option, std::optional<std::int64_t>& seconds,
                      const char* help);
/// Names a VM after its image where no name was given, and checks the name.
Result<void> settle_name(Options& options);

/// A script for `shell` (bash, zsh or fish) that completes every command and option that `app` has, and the
/// names of VMs and images.
std::string completion(const CLI::App& app, std::string_view shell);

// One for each options_*.cc.
void add_run_command(CommandSet& commands);
void add_serve_commands(CommandSet& commands);
void add_store_commands(CommandSet& commands);
void add_image_commands(CommandSet& commands);
void add_disk_commands(CommandSet& commands);
void add_vm_commands(CommandSet& commands);
void add_exec_command(CommandSet& commands);
void add_ssh_command(CommandSet& commands);
void add_docker_command(CommandSet& commands);
void add_cp_command(CommandSet& commands);
void add_volume_command(CommandSet& commands);
void add_events_command(CommandSet& commands);
void add_package_commands(CommandSet& commands);
/// `export systemd` and `export kubernetes`.
void add_further_exports(CommandSet& commands, CLI::App* group);

/// EINVAL where `word`, the first of a command's free ones, looks like an option: `command` has none such.
Result<void> check_no_option(const CLI::App& command, const std::string& word);

}  // namespace layerboot::launcher
