// guest-init: the initrd's /init. From the kernel's hands to the image's own init.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "guest-init/agent.h"
#include "guest-init/binfmt.h"
#include "guest-init/boot_steps.h"
#include "guest-init/cmdline.h"
#include "guest-init/command_init.h"
#include "guest-init/console.h"
#include "guest-init/disk_root.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"
#include "guest-init/fill_gaps.h"
#include "guest-init/getty_keeper.h"
#include "guest-init/guest_upper.h"
#include "guest-init/init_choice.h"
#include "guest-init/modules.h"
#include "guest-init/mounts.h"
#include "guest-init/network.h"
#include "guest-init/network_choice.h"
#include "guest-init/no_udev.h"
#include "guest-init/root_paths.h"
#include "guest-init/shell.h"
#include "guest-init/swap.h"
#include "guest-init/switch_root.h"
#include "guest-init/workload.h"

namespace guest_init {
namespace {

struct Start {
  GuestKind kind = GuestKind::kInit;
  std::string init;  // empty with kCommand, and when there is none but a shell was asked for
  std::vector<std::string> arguments;
  ImageWorkload workload;
  bool systemd = false;
  bool udev = false;  // with systemd: it will be told of devices
};

bool in_image(std::string_view path) { return !resolve_program(kNewRoot, path).empty(); }

/// The image's init, by the path it has in the image.
std::string choose_init(const BootOptions& options, const std::vector<std::string>& command) {
  if (!options.init.empty() && !is_shell(options.init)) {
    if (!in_image(options.init)) stop_boot("init=" + options.init + " is not a program in the image");
    return options.init;
  }
  if (names_init(command) && in_image(command.front())) return command.front();
  std::string found = find_init(kNewRoot);
  // A shell was asked for: that is still of use.
  if (!found.empty() || !options.init.empty()) return found;
  std::string tried;
  for (const char* path : kInitPaths) tried += tried.empty() ? path : std::string(", ") + path;
  stop_boot("this image has no init (tried " + tried +
            "), and no command of it is known that could be run instead");
}

Start choose_start(const BootOptions& options) {
  Start start;
  const std::string records = read_text(std::string(kNewRoot) + kWorkloadFile);
  auto workload = decode_workload(records);
  if (!workload) stop_boot(std::string(kWorkloadFile) + " of the VM layer can't be read");
  start.workload = std::move(*workload);
  const auto command = main_command(start.workload, {});
  const bool has_init = !options.init.empty() || !find_init(kNewRoot).empty();
  const bool systemd = is_systemd(kNewRoot, kInitPaths[0]);
  // Without its configuration an image is what it always was: something with an init.
  const bool own_script = options.init.empty() && options.run == RunChoice::kAuto && !systemd &&
                          !names_init(command) && in_image(kOwnInitScript);
  if (own_script) {
    start.kind = GuestKind::kCommand;
    start.workload.entrypoint = {kOwnInitScript};
    start.workload.command.clear();
    return start;
  }
  const RunChoice wanted =
      records.empty() && options.run == RunChoice::kAuto ? RunChoice::kInit : options.run;
  start.kind = choose_kind(wanted, command, systemd, has_init);
  if (start.kind == GuestKind::kCommand) return start;
  start.init = choose_init(options, command);
  if (options.init.empty() && names_init(command) && start.init == command.front())
    start.arguments.assign(command.begin() + 1, command.end());
  start.arguments.insert(start.arguments.end(), options.init_arguments.begin(), options.init_arguments.end());
  start.systemd = is_systemd(kNewRoot, start.init);
  const Fd root(open(kNewRoot, O_PATH | O_DIRECTORY | O_CLOEXEC));
  start.udev = start.systemd && has_udev(root.get());
  // systemd reads `single` off the kernel's command line too, as its rescue mode; the shell was that already.
  if (options.single && start.systemd) start.arguments.emplace_back("--unit=default.target");
  return start;
}

NetworkChoice choose_image_network(const Start& start) {
  // A command's guest runs nothing that would.
  if (start.kind == GuestKind::kCommand) return {};
  const Fd root(open(kNewRoot, O_PATH | O_DIRECTORY | O_CLOEXEC));
  return choose_network(root.get(), start.systemd, start.udev);
}

[[noreturn]] void exec_init(const std::string& path, const std::vector<std::string>& arguments) {
  std::vector<char*> argv = {const_cast<char*>(path.c_str())};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(path.c_str(), argv.data());
  stop_boot("cannot run " + path + because());
}

[[noreturn]] void end_after_shell() {
  say("the shell has ended: powering off");
  power_off();
}

void run_asked_shell(const BootOptions& options, const Start& start) {
  if (!is_shell(options.init)) return;
  say("shell " + options.init + " on the mounted root. `exit` goes on booting, `poweroff -f` powers off.");
  if (!run_shell(options.init)) stop_boot("cannot run " + options.init);
  if (options.shell_once) end_after_shell();
  if (start.kind == GuestKind::kInit && start.init.empty()) {
    say("the shell has ended and the image has no init: powering off");
    power_off();
  }
}

void bring_getty_keeper(const Start& start) {
  if (start.kind == GuestKind::kCommand) return;
  const Fd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (needs_getty_keeper(root.get(), start.init)) keep_getty(start.workload.autologin);
}

[[noreturn]] void hand_over(const BootOptions& options, const Start& start, int old_root, char** argv) {
  const bool stay = start.kind == GuestKind::kCommand;
  if (stay) prepare_system(options.cgroup_v1);
  pid_t agent = -1;
  if (stay || options.agent) {
    agent = start_agent({.kind = start.kind,
                         .workload = start.workload,
                         .port_expected = options.agent,
                         .init_is_systemd = start.systemd,
                         .session_groups = start.systemd,
                         .old_root = old_root},
                        argv);
  }
  if (agent < 0 && (stay || options.agent)) stop_boot("cannot start the agent" + because());
  close(old_root);
  if (stay) serve_as_init(agent);
  exec_init(start.init, start.arguments);
}

[[noreturn]] void boot(char** argv) {
  mount_proc();
  const BootOptions options = parse_command_line(read_text("/proc/cmdline"));
  if (options.probe) {
    say("layerboot-probe: alive");
    power_off();
  }
  BootSteps steps;
  mount_early();
  steps.reached("initrd: mounts");
  ModuleLoader modules;
  modules.load_for_devices();
  if (options.single) {
    const bool ran = run_recovery_shell();
    if (options.shell_once && !ran) stop_boot("there is no recovery shell");
    if (options.shell_once) end_after_shell();
  }
  modules.load("fs-" + options.root_type);
  if (options.upper) {
    modules.load("fs-overlay");
    if (!options.upper->device.empty()) modules.load("fs-ext4");
  }
  if (!options.swap.empty()) use_swap(options.swap);
  steps.reached("initrd: kernel modules");
  options.upper ? mount_over_image(options) : mount_root(options);
  if (options.root_type != "virtiofs" && !options.read_only) {
    apply_vm_layer("/vm-layer.tar");
    take_machine_name();
    if (!options.modules.empty()) mount_kernel_modules(options.modules);
  }
  steps.reached("initrd: root mounted");
  const Start start = choose_start(options);
  if (options.upper) {
    bind_plain_directories(start.workload.volumes, start.kind == GuestKind::kInit);
  } else {
    const Fd root(open(kNewRoot, O_PATH | O_DIRECTORY | O_CLOEXEC));
    make_volume_directories(root.get(), start.workload.volumes);
  }
  const NetworkChoice network = choose_image_network(start);
  if (network.owner == NetworkOwner::kUs) bring_up_network(options);
  steps.reached("initrd: init chosen");
  const int old_root = switch_root();
  steps.reached("initrd: root switched");
  link_modules();
  index_modules_of_image();
  mount_into_root(options.shares, start.workload.tmpfs);
  if (!options.keep_resolver) use_resolver();
  leave_cards_to(network, start.systemd, start.udev);
  keep_cards_bare(options, network);
  if (network.owner != NetworkOwner::kUs) bring_up_bare_cards(options, network.card_names);
  if (start.systemd && !start.udev) put_console_getty(start.workload.autologin);
  fill_gaps(start.workload, {.systemd = start.systemd, .stays = start.kind == GuestKind::kCommand});
  register_interpreters(start.systemd);
  run_asked_shell(options, start);
  bring_getty_keeper(start);
  steps.reached("initrd");
  if (options.timing) steps.tell();
  note(std::to_string(modules.loaded()) + " modules, root " + options.root + " (" + options.root_type +
       "), handing over to " + (start.init.empty() ? "the image's command" : start.init));
  hand_over(options, start, old_root, argv);
}

}  // namespace
}  // namespace guest_init

int main(int argc, char** argv) {
  if (getpid() != 1) {
    if (guest_init::is_modprobe(argv[0])) return guest_init::run_as_modprobe(argc, argv);
    // udhcpc's script: the DHCP client is a child of ours, in the initramfs.
    if (argc == 2 && std::getenv("interface") != nullptr) return guest_init::handle_lease(argv[1]);
    guest_init::say("this is a virtual machine's first process; run elsewhere it does nothing");
    return 1;
  }
  guest_init::boot(argv);
}
