// `layerboot run`.

#include <algorithm>
#include <thread>

#include "launcher/cli/options_parts.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

constexpr unsigned kMaxDefaultCpus = 4;
constexpr std::size_t kMaxKeyBytes = 16384;
constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

/// CLI11 takes a bad value as an exception; parse_command_line makes it one line again.
template <typename T>
void valid(const char* option, const Result<T>& result) {
  if (!result) throw CLI::ValidationError(option, result.error().describe());
}

/// The first line of a public key's file; what is no public key is refused, a private one above all.
Result<std::string> read_ssh_key(const std::string& file) {
  LB_ASSIGN(const std::string text, read_file(file, kMaxKeyBytes));
  const std::string line = text.substr(0, text.find('\n'));
  if (line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-")) return line;
  return fail(EINVAL, file, " is no public key of OpenSSH");
}

/// Only what this machine's QEMU and kernel are for.
Result<void> check_platform(const std::string& text) {
  if (text == "linux/amd64" || text == "linux/x86_64") return {};
  return fail(EINVAL, text, " can't be run here: linux/amd64 is what there is a kernel for");
}

void add_guest_options(CLI::App* run, Options& options) {
  run->add_option_function<std::vector<std::string>>(
         "-v,--volume",
         [&options](const std::vector<std::string>& texts) {
           for (const auto& text : texts) {
             const auto volume = parse_volume(text);
             valid("--volume", volume);
             options.volumes.push_back(*volume);
           }
         },
         "a directory of this machine in the guest: HOST:GUEST; with :ro not to be written to, with :overlay "
         "what is written stays with the VM, no more than quota=SIZE; with idmap=UID:GID files of the "
         "guest's "
         "root are that user's (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("VOLUME");
  add_workload_options(run, options, "the image's command");
  run->add_option("--hostname", options.hostname, "the guest's host name; default: the VM's name")
      ->type_name("NAME");
  run->add_option_function<std::vector<std::string>>(
         "--ssh-key",
         [&options](const std::vector<std::string>& files) {
           for (const auto& file : files) {
             const auto key = read_ssh_key(file);
             valid("--ssh-key", key);
             options.ssh_keys.push_back(*key);
           }
         },
         "a public key that may log in as root (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("FILE");
}

/// What is run in the guest, and how.
void add_boot_options(CLI::App* run, Options& options) {
  add_choice<Boot>(run, "--boot", options.boot,
                   {{"auto", Boot::kAuto}, {"init", Boot::kInit}, {"command", Boot::kCommand}},
                   "auto: as the image says; init: its init; command: its command, without an init");
  run->add_option_function<std::string>(
         "--entrypoint",
         [&options](const std::string& program) {
           options.entrypoint.emplace();
           if (!program.empty()) options.entrypoint->push_back(program);
         },
         "the program that COMMAND is handed to, instead of the image's")
      ->type_name("PROGRAM");
  run->add_option_function<std::string>(
         "--cgroup", [&options](const std::string& version) { options.cgroup_v1 = version == "1"; },
         "the version of the guest's control groups; default: 2")
      ->check(CLI::IsMember({"1", "2"}))
      ->type_name("1|2");
  run->add_option_function<std::vector<std::string>>(
         "--socket",
         [&options](const std::vector<std::string>& texts) {
           for (const auto& text : texts) {
             const auto socket = parse_shared_socket(text);
             valid("--socket", socket);
             options.sockets.push_back(*socket);
           }
         },
         "HOST:GUEST, a Unix socket here for one of the guest or for a port of it (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("SOCKETS");
}

void add_machine_options(CLI::App* run, Options& options) {
  run->add_option("--cpus", options.cpus, "virtual processors")
      ->check(CLI::Range(1U, kMaxCpus))
      ->type_name("N")
      ->capture_default_str();
  add_size(
      run, "--memory", [&options](std::uint64_t size_bytes) { options.memory_bytes = size_bytes; },
      "the guest's memory; default: 1G");
  add_choice<AccelChoice>(
      run, "--accel", options.accel_choice,
      {{"auto", AccelChoice::kAuto}, {"kvm", AccelChoice::kKvm}, {"tcg", AccelChoice::kTcg}},
      "auto: KVM if a probe guest comes up on it, else TCG; kvm: KVM, untried; tcg: emulation");
  run->add_flag("--require-kvm", options.require_kvm, "fail, rather than fall back to emulation");
  add_choice<MachineChoice>(
      run, "--machine", options.machine_choice,
      {{"auto", MachineChoice::kAuto}, {"q35", MachineChoice::kQ35}, {"microvm", MachineChoice::kMicrovm}},
      "auto, q35 or microvm (with KVM only)");
  run->add_option_function<std::string>(
         "--net", [&options](const std::string& text) { valid("--net", parse_net(text, options)); },
         "user: by way of this user (default); passt: the same, faster; tap=NAME: a tap interface that "
         "exists; none")
      ->type_name("user|passt|tap=NAME|none");
  run->add_option_function<std::vector<std::string>>(
         "-p,--publish",
         [&options](const std::vector<std::string>& texts) {
           for (const auto& text : texts) {
             const auto port = parse_published(text);
             valid("--publish", port);
             options.published.push_back(*port);
           }
         },
         "a port of this machine that leads to one of the guest: [ADDRESS:]HOST:GUEST[/udp], with --net "
         "user or passt (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("PORTS");
  run->add_option_function<std::string>(
         "--platform", [](const std::string& text) { valid("--platform", check_platform(text)); },
         "whose programs the image holds")
      ->type_name("linux/ARCH");
  run->add_option("--qemu", options.qemu, "the QEMU to start")->type_name("FILE");
}

Result<void> check_network(const Options& options) {
  if (options.published.size() > kMaxPublished) return fail(EINVAL, "--publish: at most ", kMaxPublished);
  const bool forwards = options.net == Net::kUser || options.net == Net::kPasst;
  if (!options.published.empty() && !forwards) return fail(EINVAL, "--publish needs --net user or passt");
  return {};
}

Result<void> check_guest(const Options& options) {
  if (options.volumes.size() > kMaxVolumes) return fail(EINVAL, "--volume: at most ", kMaxVolumes);
  for (const std::string& entry : options.environment) {
    if (entry.starts_with('=')) return fail(EINVAL, "--env ", entry, ": a name is missing");
  }
  if (!options.hostname.empty() && hostname_for(options.hostname) != options.hostname) {
    return fail(EINVAL, "--hostname ", options.hostname, ": use letters, digits and '-'");
  }
  return {};
}

Result<void> settle_run(Options& options) {
  if (options.image.empty() && options.socket_path.empty()) {
    return fail(EINVAL, "run: give an IMAGE, or --socket-path of a daemon that serves one");
  }
  if (options.memory_bytes < kMinMemoryBytes) return fail(EINVAL, "--memory: at least 64M");
  // Whole MiB: QEMU rounds the machine's memory, and the backend must have the same size.
  options.memory_bytes = (options.memory_bytes + kMib - 1) / kMib * kMib;
  if (options.require_kvm && options.accel_choice == AccelChoice::kTcg) {
    return fail(EINVAL, "--require-kvm and --accel tcg contradict each other");
  }
  if (options.machine_choice == MachineChoice::kMicrovm && options.accel_choice == AccelChoice::kTcg) {
    return fail(EINVAL, "--machine microvm needs KVM: its clock can't be calibrated under TCG");
  }
  // What the VM has had so far is looked at when it is known.
  options.upper = options.upper_choice.value_or(UpperKind::kHost);
  LB_TRY(check_upper(options));
  LB_TRY(check_network(options));
  LB_TRY(check_guest(options));
  return settle_name(options);
}

}  // namespace

void add_run_command(CommandSet& commands) {
  Options& options = commands.options();
  options.cpus = std::clamp(std::thread::hardware_concurrency(), 1U, kMaxDefaultCpus);
  auto* run = commands.add("run", Command::kRun,
                           "boot a VM from an image, or run a command in one, in this terminal", settle_run);
  run->footer(
      "What follows IMAGE, or --, is a command to run instead of the image's: layerboot run debian:12 sh -c "
      "'exit 7'.\n"
      "The VM keeps what it writes under its name: the same command boots it again.\n"
      "Ctrl-] three times within a second powers it off; once more stops it at once.\n"
      "Exit status: the command's (128 and the number of the signal that ended it, 127 not found, 126 not to "
      "be\n"
      "run); 125 the guest reset itself before the command ended; with an init 0 when the guest powered "
      "off;\n"
      "1 something failed, 2 wrong usage.");
  auto* image = run->add_option("IMAGE", options.image,
                                "a name such as debian:12, fetched if need be, or oci:DIR[:TAG]");
  // COMMAND and its arguments, which may look like options of ours.
  run->prefix_command();
  run->add_flag("-i,--interactive", options.interactive, "standard input goes to the guest: it does anyway");
  run->add_flag("-t,--tty", options.terminal, "a terminal is used where there is one anyway");
  auto* socket =
      run->add_option("--socket-path", options.socket_path,
                      "use the vhost-user daemon that already serves this socket, instead of IMAGE");
  socket->type_name("SOCKET")->excludes(image);
  auto* disk = run->add_flag("--disk-image", options.disk_root,
                             "boot from a disk made of IMAGE, as large as --disk says, instead of virtiofs");
  disk->excludes(socket);
  run->add_flag("-d,--detach", options.detach, "in the background; logs and console show it, stop ends it");
  run->add_flag("--rm", options.remove_at_end, "remove the VM, and what it wrote, when it ends");
  run->add_flag("--timing", options.timing, "say at the end where the time of the start went");
  run->add_flag("--ephemeral", options.ephemeral,
                "start from the image alone, and keep nothing that is written");
  add_pull_options(run, options);
  add_disk_options(run, options);
  run->add_option_function<std::string>(
         "--upper",
         [&options](const std::string& word) {
           if (word == "host") options.upper_choice = UpperKind::kHost;
           if (word == "disk") options.upper_choice = UpperKind::kDisk;
           if (word == "ram") options.upper_choice = UpperKind::kRam;
         },
         "where what the guest writes is kept: host, as files; disk, an ext4 of the guest's own, faster; "
         "ram, its "
         "memory, until it ends; default: as before, or host for a new VM")
      ->check(CLI::IsMember({"host", "disk", "ram"}))
      ->type_name("host|disk|ram")
      ->excludes(socket)
      ->excludes(disk);
  add_writeback_option(run, options)->excludes(socket)->excludes(disk);
  add_choice<DiskFormat>(run, "--disk-format", options.disk_format,
                         {{"raw", DiskFormat::kRaw}, {"qcow2", DiskFormat::kQcow2}},
                         "qcow2 on top of the image's disk (the default), or a raw copy of it for this VM")
      ->needs(disk);
  run->add_option("--oci-mount", options.oci_mount, "the oci-mount to make the disk by")->type_name("FILE");
  add_kernel_options(run, options);
  run->add_flag(
      "--no-initrd", options.no_initrd,
      "the kernel mounts the root and starts the image's init by itself; it must have the drivers built in");
  run->add_option("--append", options.append, "further kernel arguments")->type_name("ARGUMENTS");
  add_machine_options(run, options);
  add_boot_options(run, options);
  add_guest_options(run, options);
}

}  // namespace layerboot::launcher
