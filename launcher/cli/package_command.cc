#include "launcher/cli/package_command.h"

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "launcher/cli/packaged_command.h"
#include "launcher/cli/store_commands.h"
#include "launcher/host/programs.h"
#include "launcher/images/built_images.h"
#include "launcher/images/image_name.h"
#include "launcher/images/image_package.h"
#include "launcher/images/image_send.h"
#include "launcher/kernel/kernel_choice.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

Result<void> check_words(const Options& options) {
  for (const std::string& word : options.guest_command) {
    if (word.find('\n') != std::string::npos)
      return fail(EINVAL, "package: an option of run can't have a line feed in it");
  }
  return {};
}

/// What the container is to listen at for the ports that `run` is to publish.
std::vector<std::string> ports_of(const Options& run) {
  std::vector<std::string> ports;
  for (const PublishedPort& port : run.published)
    ports.push_back(str_cat(port.random ? port.guest : port.host, port.udp ? "/udp" : "/tcp"));
  return ports;
}

}  // namespace

Result<void> package_command(const StateDirs& dirs, const Options& options) {
  LB_TRY(check_words(options));
  PackageOptions package;
  package.run_options = options.guest_command;
  // What is wrong in them is to be said here, and not by each container.
  LB_ASSIGN(const Options run, packaged_run(package.run_options, options.image, {}));
  package.ports = ports_of(run);
  if (!options.image_name.empty()) {
    LB_ASSIGN(package.name, name_to_give(options.image_name));
  }
  std::error_code error;
  package.layerboot = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail(error.value(), "/proc/self/exe");
  LB_ASSIGN(package.vfsd, find_vfsd(options.vfsd));
  LB_ASSIGN(package.guest_init, find_guest_init(options.guest_init));
  LB_ASSIGN(package.image, supply_image(dirs, options.image, supply_options(options)));
  if (options.base_image.empty()) {
    LB_ASSIGN(package.base, supply_program_image(dirs, {package.layerboot, package.vfsd}));
  } else {
    LB_ASSIGN(package.base, supply_image(dirs, options.base_image, supply_options(options)));
  }
  LB_ASSIGN(package.kernel, kernel_for(dirs, options.kernel, options.guest_init));
  package.show_progress = options.log_level >= LogLevel::kInfo;
  auto digest = package_image(dirs, package);
  if (!digest) return while_doing(digest.error(), "cannot package ", options.image);
  if (!options.push_to.empty()) {
    LB_ASSIGN(const std::string there, push_image(dirs, {.reference = *digest,
                                                         .destination = options.push_to,
                                                         .tls_verify = options.tls_verify,
                                                         .show_progress = package.show_progress}));
    log_info("pushed to ", there);
  }
  std::printf("%s\n", digest->c_str());
  return {};
}

}  // namespace layerboot::launcher
