// `layerboot run`.

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "launcher/cli/options_run_parts.h"
#include "launcher/cli/run_ways.h"
#include "launcher/vm/binfmt_layer.h"
#include "oci-mount/base/ascii.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/size.h"

namespace layerboot::launcher {

namespace {

constexpr unsigned kMaxDefaultCpus = 4;

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
      run, "-m,--memory", [&options](std::uint64_t size_bytes) { options.memory_bytes = size_bytes; },
      "the guest's memory; default: 1G");
  add_size(
      run, "--swap",
      [&options](std::uint64_t size_bytes) {
        if (size_bytes > kMaxSwapBytes)
          throw CLI::ValidationError("--swap", str_cat("at most ", kMaxSwapBytes >> 30U, "G"));
        options.swap_bytes = size_bytes;
      },
      "a disk to swap to, which takes room here as it is used, until the VM ends; default: none",
      kMinSwapBytes);
  add_choice<AccelChoice>(
      run, "--accel", options.accel_choice,
      {{"auto", AccelChoice::kAuto}, {"kvm", AccelChoice::kKvm}, {"tcg", AccelChoice::kTcg}},
      "auto: KVM if a probe guest comes up on it, else TCG; kvm: KVM, untried; tcg: emulation");
  run->add_flag("--require-kvm", options.require_kvm, "fail, rather than fall back to emulation");
  add_choice<MachineChoice>(
      run, "--machine", options.machine_choice,
      {{"auto", MachineChoice::kAuto}, {"q35", MachineChoice::kQ35}, {"microvm", MachineChoice::kMicrovm}},
      "auto, q35 or microvm (with KVM only)");
  add_network_options(run, options);
  add_platform_option(run, options);
  add_repeated(
      run, "--binfmt",
      [&options](const std::string& text) -> Result<void> {
        LB_ASSIGN(const auto names, parse_binfmt(text));
        options.binfmt.insert(options.binfmt.end(), names.begin(), names.end());
        return {};
      },
      "the guest runs programs for these architectures, too, by this machine's qemu-user-static: arm64, "
      "riscv64 and others")
      ->type_name("ARCH[,ARCH]");
  run->add_option("--qemu", options.qemu, "the QEMU to start")->type_name("FILE");
}

Result<void> check_network(const Options& options) {
  if (options.published.size() > kMaxPublished) return fail(EINVAL, "--publish: at most ", kMaxPublished);
  const bool forwards = options.net == Net::kUser || options.net == Net::kPasst;
  if ((!options.published.empty() || options.publish_all) && !forwards)
    return fail(EINVAL, "--publish needs --net user or passt");
  return {};
}

Result<void> check_guest(const Options& options) {
  if (options.volumes.size() > kMaxVolumes) return fail(EINVAL, "--volume: at most ", kMaxVolumes);
  if (options.tmpfs.size() > kMaxTmpfs) return fail(EINVAL, "--tmpfs: at most ", kMaxTmpfs);
  if (was_given(options, "--hostname")) {
    if (const auto good = check_hostname(options.hostname); !good)
      return while_doing(good.error(), "--hostname");
  }
  return {};
}

/// Somebody who has left IMAGE out is not to wonder what is waited for.
void tell_when_waiting(LogLevel level) {
  constexpr int kPatienceMs = 1000;
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  if (level >= LogLevel::kInfo && ::poll(&input, 1, kPatienceMs) == 0)
    log_info("no IMAGE is given: waiting for its name on standard input");
}

/// Of `layerboot build . | layerboot run`: the first line that says something.
Result<std::string> image_from_standard_input(LogLevel level) {
  constexpr std::size_t kMaxBytes = 4096;
  std::string line;
  if (::isatty(STDIN_FILENO) == 0) {
    tell_when_waiting(level);
    const auto text = read_all(STDIN_FILENO, kMaxBytes);
    if (text) {
      const std::string_view said = trim_blanks(*text);
      line = trim_blanks(said.substr(0, said.find('\n')));
    }
  }
  if (!line.empty()) return line;
  return fail(EINVAL,
              "run: give an IMAGE, here or on standard input, or --socket-path of a daemon that serves one");
}

Result<void> settle_docker(Options& options) {
  if (!options.socket_path.empty()) return fail(EINVAL, "--docker needs an IMAGE, or none");
  if (!options.guest_command.empty())
    return fail(EINVAL, "--docker boots the image's init: 'layerboot docker VM' runs Docker's commands");
  // It is used from elsewhere: this terminal is given back when it can be.
  options.detach = true;
  if (options.image.empty() && options.name.empty()) options.name = "docker";
  return {};
}

Result<void> settle_run(Options& options) {
  if (options.docker) LB_TRY(settle_docker(options));
  if (options.image.empty() && options.socket_path.empty() && !options.docker) {
    LB_ASSIGN(options.image, image_from_standard_input(options.log_level));
  }
  if (options.memory_bytes < kMinMemoryBytes) return fail(EINVAL, "--memory: at least 64M");
  // Whole MiB: QEMU rounds the machine's memory, and the backend must have the same size.
  options.memory_bytes = (options.memory_bytes + kMib - 1) / kMib * kMib;
  if (options.restart != RestartPolicy::kNo && options.remove_at_end)
    return fail(EINVAL, "--restart and --rm contradict each other");
  if (was_given(options, "--wait-timeout") && !options.wait && !options.docker)
    return fail(EINVAL, "--wait-timeout is for --wait, and for --docker: without them run waits for nothing");
  if (options.wait && !options.detach)
    return fail(EINVAL, "--wait is for --detach: without it run ends with the VM");
  if (options.require_kvm && options.accel_choice == AccelChoice::kTcg) {
    return fail(EINVAL, "--require-kvm and --accel tcg contradict each other");
  }
  if (options.machine_choice == MachineChoice::kMicrovm && options.accel_choice == AccelChoice::kTcg) {
    return fail(EINVAL, "--machine microvm needs KVM: its clock can't be calibrated under TCG");
  }
  LB_TRY(check_ways(options));
  // What the VM has had so far is looked at when it is known.
  options.upper = options.upper_choice.value_or(UpperKind::kHost);
  LB_TRY(settle_environment(options));
  LB_TRY(check_upper(options));
  LB_TRY(check_network(options));
  LB_TRY(check_guest(options));
  return settle_name(options);
}

CLI::Option* add_upper_option(CLI::App* run, Options& options) {
  return run
      ->add_option_function<std::string>(
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
      ->type_name("host|disk|ram");
}

/// What the help begins with.
void show_first(CLI::App* run) {
  constexpr const char* kFirst = "What one needs first";
  run->get_help_ptr()->group(kFirst);
  for (const char* name : {"--interactive", "--tty", "--detach", "--wait", "--rm", "--name", "--env",
                           "--volume", "--publish", "--cpus", "--memory", "--disk"}) {
    run->get_option(name)->group(kFirst);
  }
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
      "Ctrl-] three times within a second powers it off, once more stops it at once; Ctrl-] Ctrl-] s is a "
      "shell in it.\n"
      "Exit status: the command's (128 and the number of the signal that ended it, 127 not found, 126 not to "
      "be\n"
      "run); 125 the guest reset itself before the command ended; with an init 0 when the guest powered "
      "off;\n"
      "1 something failed, 2 wrong usage.");
  auto* image = run->add_option("IMAGE", options.image,
                                "a name such as debian:12, fetched if need be, or oci:DIR[:TAG]; default: "
                                "a line of standard input, as build writes");
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
  run->add_flag("--docker", options.docker,
                "use the image's Docker engine from here: in the background; when the engine answers, "
                "DOCKER_HOST is "
                "printed for the shell; without IMAGE one is built, once");
  run->add_flag("--wait", options.wait,
                "with --detach: return when the guest is up, as its systemd says, if it has one");
  run->add_option("--wait-timeout", options.wait_seconds,
                  "how long that may take; then it is an error, and the VM goes on")
      ->check(CLI::Range(1U, 86'400U))
      ->type_name("SECONDS")
      ->default_str("600");
  run->add_flag("--rm", options.remove_at_end, "remove the VM, and what it wrote, when it ends");
  run->add_option_function<std::string>(
         "--restart",
         [&options](const std::string& text) { valid("--restart", parse_restart(text, options)); },
         "when the VM has ended, start it again: on-failure[:MOST] if it failed, always unless it was "
         "stopped; "
         "as long as this launcher lives")
      ->type_name("no|on-failure|always");
  run->add_flag("--timing", options.timing, "say at the end where the time of the start went");
  run->add_flag("--ephemeral", options.ephemeral,
                "start from the image alone, and keep nothing that is written");
  add_pull_options(run, options);
  add_disk_options(run, options);
  add_upper_option(run, options)->excludes(socket)->excludes(disk);
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
  show_first(run);
}

}  // namespace layerboot::launcher
