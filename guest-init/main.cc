// guest-init: the initrd's /init. From the kernel's hands to the image's own init.
#include <unistd.h>

#include <string>
#include <vector>

#include "guest-init/cmdline.h"
#include "guest-init/console.h"
#include "guest-init/init_choice.h"
#include "guest-init/modules.h"
#include "guest-init/mounts.h"
#include "guest-init/shell.h"
#include "guest-init/switch_root.h"

namespace guest_init {
namespace {

/// The image's init, by the path it has in the image.
std::string choose_init(const BootOptions& options) {
  if (!options.init.empty() && !is_shell(options.init)) {
    if (resolve_program(kNewRoot, options.init).empty()) {
      stop_boot("init=" + options.init + " is not a program in the image");
    }
    return options.init;
  }
  std::string tried;
  for (const char* path : kInitPaths) {
    if (!resolve_program(kNewRoot, path).empty()) return path;
    tried += tried.empty() ? path : std::string(", ") + path;
  }
  // A shell was asked for: that is still of use.
  if (!options.init.empty()) return {};
  stop_boot("this image has no init (tried " + tried +
            "): only images with an init, such as systemd, can be booted");
}

[[noreturn]] void exec_init(const std::string& path, const std::vector<std::string>& arguments) {
  std::vector<char*> argv = {const_cast<char*>(path.c_str())};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(path.c_str(), argv.data());
  stop_boot("cannot run " + path + because());
}

[[noreturn]] void boot() {
  mount_proc();
  BootOptions options = parse_command_line(read_text("/proc/cmdline"));
  if (options.probe) {
    say("layerboot-probe: alive");
    power_off();
  }
  mount_early();
  ModuleLoader modules;
  modules.load_for_devices();
  if (options.single) run_recovery_shell();
  modules.load("fs-" + options.root_type);
  mount_root(options);
  const std::string init = choose_init(options);
  // systemd reads `single` off the kernel's command line too, as its rescue mode; the shell was that already.
  const bool is_systemd = resolve_program(kNewRoot, init).ends_with("/systemd");
  if (options.single && is_systemd) options.init_arguments.push_back("--unit=default.target");
  switch_root();
  if (is_shell(options.init)) {
    say("shell " + options.init + " on the mounted root. `exit` goes on booting, `poweroff -f` powers off.");
    if (!run_shell(options.init)) stop_boot("cannot run " + options.init);
    if (init.empty()) stop_boot("the shell has ended and the image has no init");
  }
  note(std::to_string(modules.loaded()) + " modules, root " + options.root + " (" + options.root_type +
       "), handing over to " + init);
  exec_init(init, options.init_arguments);
}

}  // namespace
}  // namespace guest_init

int main() {
  if (getpid() != 1) {
    guest_init::say("this is a virtual machine's first process; run elsewhere it does nothing");
    return 1;
  }
  guest_init::boot();
}
