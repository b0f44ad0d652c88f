#include "launcher/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <sstream>
#include <thread>

#include "oci-mount/base/size.h"

namespace layerboot::launcher {

namespace {

constexpr unsigned kMaxDefaultCpus = 4;
constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

/// What CLI11 fills in, before sizes and names are looked at.
struct RawOptions {
  Options options;
  std::string memory = "1G";
  std::string quota;
  bool quiet = false;
  bool debug = false;
};

template <typename Choice>
void add_choice(CLI::App* command, const char* option, Choice& value,
                const std::map<std::string, Choice>& names, const char* help) {
  std::string words;
  for (const auto& [name, choice] : names) words += str_cat(words.empty() ? "" : "|", name);
  CLI::CheckedTransformer transformer(names);
  // Without it the help shows the enumerators' numbers.
  transformer.description("");
  command->add_option(option, value, help)->transform(transformer)->type_name(words);
}

void add_verbosity(CLI::App* command, RawOptions& raw) {
  auto* quiet = command->add_flag("-q,--quiet", raw.quiet, "only errors and warnings");
  command->add_flag("--debug", raw.debug, "everything, and a talkative guest")->excludes(quiet);
}

void add_kernel(CLI::App* command, RawOptions& raw) {
  command->add_option("--kernel", raw.options.kernel, "the kernel to boot")
      ->type_name("SPEC")
      ->capture_default_str();
  command->add_option("--guest-init", raw.options.guest_init, "guest-init to put into the initrd")
      ->type_name("FILE");
}

void add_disk(CLI::App* command, RawOptions& raw) {
  command->add_option("--name", raw.options.name, "the VM's name; default: from the image")
      ->type_name("NAME");
  command
      ->add_option("--disk,--quota", raw.quota,
                   "what the VM may write, at most; default: as before, or 4G for a new VM")
      ->type_name("SIZE");
  command->add_option("--vfsd", raw.options.vfsd, "the file system daemon to start")->type_name("FILE");
}

void add_run(CLI::App& app, RawOptions& raw) {
  auto* run = app.add_subcommand("run", "boot a VM from an image, with its console in this terminal");
  run->footer(
      "The VM keeps what it writes under its name: the same command boots it again.\n"
      "Ctrl-] three times within a second powers it off; once more stops it at once.\n"
      "Exit status: 0 the guest powered off, 1 something failed, 2 wrong usage.");
  auto* image =
      run->add_option("IMAGE", raw.options.image, "the image: oci:DIR[:TAG] or a name in the local store");
  auto* socket =
      run->add_option("--socket-path", raw.options.socket_path,
                      "use the vhost-user daemon that already serves this socket, instead of IMAGE");
  socket->type_name("SOCKET")->excludes(image);
  add_disk(run, raw);
  Options& options = raw.options;
  run->add_option("--cpus", options.cpus, "virtual processors")
      ->check(CLI::Range(1U, kMaxCpus))
      ->type_name("N")
      ->capture_default_str();
  run->add_option("--memory", raw.memory, "the guest's memory")->type_name("SIZE")->capture_default_str();
  add_kernel(run, raw);
  run->add_option("--append", options.append, "further kernel arguments")->type_name("ARGUMENTS");
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
  add_verbosity(run, raw);
}

void add_others(CLI::App& app, RawOptions& raw) {
  auto* serve =
      app.add_subcommand("serve", "serve an image as a VM's root file system, for 'run --socket-path'");
  serve->add_option("IMAGE", raw.options.image, "the image: oci:DIR[:TAG] or a name in the local store")
      ->required();
  serve
      ->add_option("--socket-path", raw.options.socket_path,
                   "where to listen; default: in the runtime directory")
      ->type_name("SOCKET");
  add_disk(serve, raw);
  add_kernel(serve, raw);
  add_verbosity(serve, raw);
  auto* kernel = app.add_subcommand("kernel", "fetch and prepare a kernel, and print its directory");
  add_kernel(kernel, raw);
  add_verbosity(kernel, raw);
  auto* doctor = app.add_subcommand("doctor", "say what this machine can do");
  add_kernel(doctor, raw);
  doctor->add_option("--qemu", raw.options.qemu, "the QEMU to ask")->type_name("FILE");
  add_verbosity(doctor, raw);
}

void add_store(CLI::App& app, RawOptions& raw) {
  auto* pull = app.add_subcommand("pull", "fetch an image from a registry into the local store");
  pull->add_option("IMAGE", raw.options.image, "such as debian:12 or localhost:5000/app:1")->required();
  pull->add_flag("--tls-verify,!--no-tls-verify", raw.options.tls_verify,
                 "false: take plain http, or a certificate that nobody signed");
  pull->footer("By skopeo, with the credentials that it finds (skopeo login).");
  add_verbosity(pull, raw);
  auto* images = app.add_subcommand("images", "list the images in the local store");
  images->add_flag("--json", raw.options.json, "one JSON document instead of columns");
  auto* rmi = app.add_subcommand("rmi", "forget an image of the local store; gc then frees its space");
  rmi->add_option("IMAGE", raw.options.image, "its name in the local store")->required();
  auto* gc = app.add_subcommand("gc", "remove blobs and indexes that no image needs any more");
  for (auto* command : {images, rmi, gc}) add_verbosity(command, raw);
}

std::optional<Command> store_command(const CLI::App& app) {
  if (app.got_subcommand("pull")) return Command::kPull;
  if (app.got_subcommand("images")) return Command::kImages;
  if (app.got_subcommand("rmi")) return Command::kRmi;
  if (app.got_subcommand("gc")) return Command::kGc;
  return std::nullopt;
}

/// The part of checking that needs more than one option, or our own parsers.
Result<Options> settle(RawOptions raw, const CLI::App& app) {
  if (app.get_subcommands().empty())
    return fail(EINVAL, "give a command: run, serve, pull, images, rmi, gc, kernel or doctor");
  Options options = std::move(raw.options);
  if (app.got_subcommand("serve")) options.command = Command::kServe;
  if (app.got_subcommand("kernel")) options.command = Command::kKernel;
  if (app.got_subcommand("doctor")) options.command = Command::kDoctor;
  if (raw.quiet) options.log_level = LogLevel::kWarn;
  if (raw.debug) options.log_level = LogLevel::kDebug;
  if (const auto command = store_command(app)) {
    options.command = *command;
    return options;
  }
  if (options.command == Command::kKernel || options.command == Command::kDoctor) return options;

  if (options.image.empty() && options.socket_path.empty()) {
    return fail(EINVAL, "run: give an IMAGE, or --socket-path of a daemon that serves one");
  }
  LB_ASSIGN(const std::uint64_t memory_bytes, parse_size(raw.memory));
  if (memory_bytes < kMinMemoryBytes) return fail(EINVAL, "--memory ", raw.memory, ": at least 64M");
  // Whole MiB: QEMU rounds the machine's memory, and the backend must have the same size.
  options.memory_bytes = (memory_bytes + kMib - 1) / kMib * kMib;
  if (!raw.quota.empty()) {
    LB_ASSIGN(options.quota_bytes, parse_size(raw.quota));
  }
  if (options.require_kvm && options.accel == AccelChoice::kTcg) {
    return fail(EINVAL, "--require-kvm and --accel tcg contradict each other");
  }
  if (options.machine == MachineChoice::kMicrovm && options.accel == AccelChoice::kTcg) {
    return fail(EINVAL, "--machine microvm needs KVM: its clock can't be calibrated under TCG");
  }
  if (options.name.empty())
    options.name = options.image.empty() ? "virtiofs" : name_from_image(options.image);
  LB_TRY(check_name(options.name));
  return options;
}

ParsedCommandLine misuse(std::string_view text) {
  std::string line(text);
  std::ranges::replace(line, '\n', ' ');
  return {.options = {},
          .text = str_cat("layerboot: error: ", line, " (see layerboot --help)\n"),
          .exit_code = kExitUsage};
}

}  // namespace

ParsedCommandLine parse_command_line(int argc, const char* const* argv) {
  RawOptions raw;
  raw.options.cpus = std::clamp(std::thread::hardware_concurrency(), 1U, kMaxDefaultCpus);
  CLI::App app("Boots virtual machines straight from stock container images.", "layerboot");
  app.set_version_flag("--version", "layerboot " LAYERBOOT_VERSION);
  app.require_subcommand(0, 1);
  try {
    add_run(app, raw);
    add_others(app, raw);
    add_store(app, raw);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return misuse(error.what());
    std::ostringstream help;
    std::ostringstream ignored;
    app.exit(error, help, ignored);
    return {.options = {}, .text = help.str(), .exit_code = 0};
  } catch (const CLI::Error& error) {
    return misuse(error.what());
  }
  auto options = settle(std::move(raw), app);
  if (!options) return misuse(options.error().describe());
  return {.options = *std::move(options), .text = {}, .exit_code = 0};
}

}  // namespace layerboot::launcher
