// layerboot's command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launcher/cli/config_file.h"
#include "launcher/export/gns3_appliance.h"
#include "launcher/export/kubernetes_set.h"
#include "launcher/images/image_build.h"
#include "launcher/images/image_commit.h"
#include "launcher/images/image_send.h"
#include "launcher/images/image_supply.h"
#include "launcher/vm/vm_config.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

enum class Command {
  kRun,
  kServe,
  kKernel,
  kDoctor,
  kPull,
  kImages,
  kRmi,
  kGc,
  kStart,
  kPs,
  kLogs,
  kConsole,
  kStop,
  kKill,
  kRm,
  kInspect,
  kReset,
  kResize,
  kCompletion,
  kDisk,
  kExec,
  kSsh,
  kExportGns3,
  kExportLibvirt,
  kTag,
  kHistory,
  kVerify,
  kCp,
  kWait,
  kRestart,
  kRename,
  kVolume,
  kStats,
  kEvents,
  kCommit,
  kPush,
  kSave,
  kLoad,
  kBuild,
  kDocker,
  kPackage,
  kPackaged,
  kExportSystemd,
  kExportKubernetes
};

/// What `export gns3` makes of an image.
struct Gns3Options : Gns3Machine {
  unsigned registry_version = 4;
};

/// What `export kubernetes` makes of a VM or an image; what is not given is the VM's.
struct KubernetesOptions : KubernetesSet {
  std::optional<unsigned> given_cpus;
  std::optional<std::uint64_t> given_memory_bytes;
};

/// An option of the command that was given, by its first long name, and what was given with it.
struct GivenOption {
  std::string name;                 // "--memory"
  std::vector<std::string> values;  // one for each time; of a choice its number
};

struct Options : RunSettings {
  Command command = Command::kRun;
  std::vector<GivenOption> given;  // of run, on the command line or by the config file
  LogLevel log_level = LogLevel::kInfo;
  std::string image;                         // empty with run --socket-path
  std::filesystem::path socket_path;         // empty: ours
  std::string socket_group;                  // serve: whose members may connect, too; empty: none's
  std::string name;                          // never empty for run and serve
  bool name_given = false;                   // and not made from the image
  std::optional<std::uint64_t> quota_bytes;  // none: as the VM had it, kDefaultQuotaBytes at first
  std::optional<UpperKind> upper_choice;     // none: as the VM had it, kHost at first
  /// Of the container that the VM is in: what it leaves is the guest's memory. None: `memory_bytes`.
  std::optional<std::uint64_t> container_memory_bytes;
  std::filesystem::path vfsd;
  std::filesystem::path guest_init;
  std::filesystem::path oci_mount;
  std::filesystem::path qemu;
  PullPolicy pull_policy = PullPolicy::kMissing;
  bool tls_verify = true;                        // of what may pull
  std::string pull_platform;                     // pull; empty: this machine's
  std::string base_image;                        // package: --base
  std::string push_to;                           // package: --push
  std::string image_name;                        // the name to give; push: where to
  std::vector<std::string> filters;              // images
  std::string format;                            // images
  bool no_trunc = false;                         // images and history
  bool repair = false;                           // verify
  bool json = false;                             // of what lists
  bool detach = false;                           // run and exec
  bool wait = false;                             // run: until the guest is up
  std::uint64_t wait_seconds = 600;              // of that, at most
  std::string copy_from;                         // cp
  std::string copy_to;                           // cp
  bool archive = false;                          // cp: owners are kept
  bool follow_link = false;                      // cp: a symlink at the end of the source
  std::string new_name;                          // rename
  std::string action;                            // volume
  bool attach = false;                           // start
  bool timing = false;                           // run
  std::vector<std::string> names;                // of VMs or images, for the commands that take several
  bool names_only = false;                       // ps and images
  bool all = false;                              // ps
  bool follow = false;                           // logs
  std::optional<std::uint64_t> tail;             // logs; none: all lines
  std::optional<std::int64_t> since;             // logs and events: seconds since 1970
  std::optional<std::int64_t> until;             // events: the same
  bool timestamps = false;                       // logs
  bool no_stream = false;                        // stats
  bool launcher_log = false;                     // logs
  bool raw = false;                              // logs
  bool force = false;                            // rm and rmi
  bool image_tree = false;                       // images: --tree
  std::optional<std::uint64_t> stop_seconds;     // stop
  std::filesystem::path output;                  // disk and save
  std::optional<DiskFormat> disk_output_format;  // none: as `output` is called; never none once parsed
  std::uint64_t disk_bytes = kDefaultQuotaBytes;
  std::string disk_file_system = "ext4";
  bool interactive = false;                      // exec: standard input goes to the program
  bool terminal = false;                         // exec: it gets a terminal
  std::vector<std::string> file_environment;     // run and exec: of --env-file, before `environment`
  bool proxy = false;                            // ssh: we are its ProxyCommand
  Gns3Options gns3;                              // export gns3
  KubernetesOptions kubernetes;                  // export kubernetes
  bool probe = false;                            // exec: whether the guest answers is all
  std::string shell = "bash";                    // completion
  CommitOptions commit;                          // what of it the command line says
  bool with_identity = false;                    // push and save: of an image that has a VM's identity, too
  bool pause = false;                            // commit: of a VM that runs, too
  bool rebase = false;                           // commit: the VM goes on from the new image
  BuildOptions build;                            // the same
  std::filesystem::path input;                   // load; empty: standard input
  ArchiveKind archive_kind = ArchiveKind::kOci;  // save
};

/// Whether `run` was given the option, by its first long name.
[[nodiscard]] bool was_given(const Options& options, std::string_view name);

/// What parsing ends with: options to act on, or a text to print and an exit status (0 for --help, 2 for
/// misuse).
struct ParsedCommandLine {
  std::optional<Options> options;
  std::string text;
  int exit_code = 0;
};

inline constexpr int kExitUsage = 2;

/// Pure but for the number of processors, from which --cpus has its default, and for standard input, which
/// `run` reads where it is given no IMAGE. `config`: what options have that the command line leaves out
/// (config_file.h).
ParsedCommandLine parse_command_line(int argc, const char* const* argv, const ConfigFile& config = {});

/// `run` with the options `words`, of this image and command, as parse_command_line() has it; but neither a
/// config file nor standard input is read. A word that is no option is IMAGE.
ParsedCommandLine parse_run_words(const std::vector<std::string>& words, const std::string& image,
                                  const std::vector<std::string>& command);

}  // namespace layerboot::launcher
