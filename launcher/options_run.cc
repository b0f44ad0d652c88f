// `layerboot run`.

#include <algorithm>
#include <thread>

#include "launcher/options_parts.h"

namespace layerboot::launcher {

namespace {

constexpr unsigned kMaxDefaultCpus = 4;
constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

void add_machine_options(CLI::App* run, Options& options) {
  run->add_option("--cpus", options.cpus, "virtual processors")
      ->check(CLI::Range(1U, kMaxCpus))
      ->type_name("N")
      ->capture_default_str();
  add_size(
      run, "--memory", [&options](std::uint64_t size_bytes) { options.memory_bytes = size_bytes; },
      "the guest's memory; default: 1G");
  add_choice<AccelChoice>(
      run, "--accel", options.accel,
      {{"auto", AccelChoice::kAuto}, {"kvm", AccelChoice::kKvm}, {"tcg", AccelChoice::kTcg}},
      "auto: KVM if a probe guest comes up on it, else TCG; kvm: KVM, untried; tcg: emulation");
  run->add_flag("--require-kvm", options.require_kvm, "fail, rather than fall back to emulation");
  add_choice<MachineChoice>(
      run, "--machine", options.machine,
      {{"auto", MachineChoice::kAuto}, {"q35", MachineChoice::kQ35}, {"microvm", MachineChoice::kMicrovm}},
      "auto, q35 or microvm (with KVM only)");
  add_choice<Net>(run, "--net", options.net, {{"user", Net::kUser}, {"none", Net::kNone}},
                  "user: outgoing connections by way of this user; none");
  run->add_option("--qemu", options.qemu, "the QEMU to start")->type_name("FILE");
}

Result<void> settle_run(Options& options) {
  if (options.image.empty() && options.socket_path.empty()) {
    return fail(EINVAL, "run: give an IMAGE, or --socket-path of a daemon that serves one");
  }
  if (options.memory_bytes < kMinMemoryBytes) return fail(EINVAL, "--memory: at least 64M");
  // Whole MiB: QEMU rounds the machine's memory, and the backend must have the same size.
  options.memory_bytes = (options.memory_bytes + kMib - 1) / kMib * kMib;
  if (options.require_kvm && options.accel == AccelChoice::kTcg) {
    return fail(EINVAL, "--require-kvm and --accel tcg contradict each other");
  }
  if (options.machine == MachineChoice::kMicrovm && options.accel == AccelChoice::kTcg) {
    return fail(EINVAL, "--machine microvm needs KVM: its clock can't be calibrated under TCG");
  }
  return settle_name(options);
}

}  // namespace

void add_run_command(CommandSet& commands) {
  Options& options = commands.options();
  options.cpus = std::clamp(std::thread::hardware_concurrency(), 1U, kMaxDefaultCpus);
  auto* run = commands.add("run", Command::kRun, "boot a VM from an image, with its console in this terminal",
                           settle_run);
  run->footer(
      "The VM keeps what it writes under its name: the same command boots it again.\n"
      "Ctrl-] three times within a second powers it off; once more stops it at once.\n"
      "Exit status: 0 the guest powered off, 1 something failed, 2 wrong usage.");
  auto* image =
      run->add_option("IMAGE", options.image, "the image: oci:DIR[:TAG] or a name in the local store");
  auto* socket =
      run->add_option("--socket-path", options.socket_path,
                      "use the vhost-user daemon that already serves this socket, instead of IMAGE");
  socket->type_name("SOCKET")->excludes(image);
  add_disk_options(run, options);
  add_kernel_options(run, options);
  run->add_option("--append", options.append, "further kernel arguments")->type_name("ARGUMENTS");
  add_machine_options(run, options);
}

}  // namespace layerboot::launcher
