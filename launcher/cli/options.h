// layerboot's command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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
  kExportLibvirt,
  kTag,
  kHistory,
  kVerify
};

struct Options : RunSettings {
  Command command = Command::kRun;
  LogLevel log_level = LogLevel::kInfo;
  std::string image;                         // empty with run --socket-path
  std::filesystem::path socket_path;         // empty: ours
  std::string name;                          // never empty for run and serve
  bool name_given = false;                   // and not made from the image
  std::optional<std::uint64_t> quota_bytes;  // none: as the VM had it, kDefaultQuotaBytes at first
  std::optional<UpperKind> upper_choice;     // none: as the VM had it, kHost at first
  std::filesystem::path vfsd;
  std::filesystem::path guest_init;
  std::filesystem::path oci_mount;
  std::filesystem::path qemu;
  PullPolicy pull_policy = PullPolicy::kMissing;
  bool tls_verify = true;                        // of what may pull
  std::string pull_platform;                     // pull; empty: this machine's
  std::string image_name;                        // pull and tag: the name to give
  std::vector<std::string> filters;              // images
  std::string format;                            // images
  bool no_trunc = false;                         // images and history
  bool repair = false;                           // verify
  bool json = false;                             // of what lists
  bool detach = false;                           // run
  bool attach = false;                           // start
  bool remove_at_end = false;                    // run
  bool timing = false;                           // run
  std::vector<std::string> names;                // of VMs or images, for the commands that take several
  bool names_only = false;                       // ps and images
  bool all = false;                              // ps
  bool follow = false;                           // logs
  bool launcher_log = false;                     // logs
  bool force = false;                            // rm and rmi
  std::optional<std::uint64_t> stop_seconds;     // stop
  std::filesystem::path output;                  // disk
  std::optional<DiskFormat> disk_output_format;  // none: as `output` is called; never none once parsed
  std::uint64_t disk_bytes = kDefaultQuotaBytes;
  std::string disk_file_system = "ext4";
  bool interactive = false;  // exec: standard input goes to the program
  bool terminal = false;     // exec: it gets a terminal
  bool proxy = false;        // ssh: we are its ProxyCommand
  std::string engine;        // export
};

/// What parsing ends with: options to act on, or a text to print and an exit status (0 for --help, 2 for
/// misuse).
struct ParsedCommandLine {
  std::optional<Options> options;
  std::string text;
  int exit_code = 0;
};

inline constexpr int kExitUsage = 2;

/// Pure but for the number of processors, from which --cpus has its default.
ParsedCommandLine parse_command_line(int argc, const char* const* argv);

}  // namespace layerboot::launcher
