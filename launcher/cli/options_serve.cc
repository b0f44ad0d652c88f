// `layerboot serve`, `kernel` and `doctor`.

#include <grp.h>
#include <sys/types.h>

#include "launcher/cli/options_parts.h"
#include "launcher/cli/options_run_parts.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

/// As vfsd takes it, by name or number; asked here, where it is before anything is made.
Result<void> check_group(const std::string& text) {
  if (::getgrnam(text.c_str()) != nullptr) return {};
  const auto number = parse_whole<gid_t>(text);
  if (number && *number != static_cast<gid_t>(-1)) return {};
  return fail(EINVAL, "there is no group ", printable(text));
}

}  // namespace

void add_serve_commands(CommandSet& commands) {
  Options& options = commands.options();
  auto* serve =
      commands.add("serve", Command::kServe,
                   "serve an image as a VM's root file system, for 'run --socket-path'", settle_name);
  serve->add_option("IMAGE", options.image, "a name such as debian:12, fetched if need be, or oci:DIR[:TAG]")
      ->required();
  add_pull_options(serve, options);
  auto* socket = serve
                     ->add_option("--socket-path", options.socket_path,
                                  "where to listen; default: in the runtime directory")
                     ->type_name("SOCKET");
  // Others get nowhere in the runtime directory, whatever a socket's group is.
  serve
      ->add_option_function<std::string>(
          "--socket-group",
          [&options](const std::string& text) {
            valid("--socket-group", check_group(text));
            options.socket_group = text;
          },
          "a group, by name or number, whose members may connect as well; else root and whoever serves")
      ->needs(socket)
      ->type_name("GROUP");
  add_disk_options(serve, options);
  add_writeback_option(serve, options);
  add_kernel_options(serve, options);
  auto* kernel =
      commands.add("kernel", Command::kKernel, "fetch and prepare a kernel, and print its directory");
  add_kernel_options(kernel, options);
  add_platform_option(kernel, options);
  auto* completion = commands.add("completion", Command::kCompletion,
                                  "print the completion of this command line for a shell");
  completion->add_option("SHELL", options.shell, "bash (the default), zsh or fish")
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  auto* doctor = commands.add("doctor", Command::kDoctor, "say what this machine can do");
  add_kernel_options(doctor, options);
  doctor->add_flag("--json", options.json, "one JSON document instead of columns");
  doctor->add_option("--vfsd", options.vfsd, "the file system daemon to look for")->type_name("FILE");
  doctor->footer("Exit status: 0 VMs run here, 1 something that they need is missing.");
  doctor->add_option("--qemu", options.qemu, "the QEMU to ask")->type_name("FILE");
}

}  // namespace layerboot::launcher
