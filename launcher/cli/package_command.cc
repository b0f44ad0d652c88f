#include "launcher/cli/package_command.h"

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "launcher/cli/package_words.h"
#include "launcher/cli/packaged_command.h"
#include "launcher/cli/packaged_start.h"
#include "launcher/cli/store_commands.h"
#include "launcher/host/programs.h"
#include "launcher/images/built_images.h"
#include "launcher/images/image_name.h"
#include "launcher/images/image_package.h"
#include "launcher/images/image_send.h"
#include "launcher/kernel/kernel_choice.h"
#include "oci-mount/base/log.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

/// What the container is to listen at for the ports that `run` is to publish.
std::vector<std::string> ports_of(const Options& run) {
  std::vector<std::string> ports;
  ports.reserve(run.published.size());
  for (const PublishedPort& port : run.published)
    ports.push_back(str_cat(port.random ? port.guest : port.host, port.udp ? "/udp" : "/tcp"));
  return ports;
}

/// What of the image's ports no container will forward is said here as well.
Result<void> tell_of_ports(const StateDirs& dirs, const std::string& reference, const Options& run) {
  if (run.net == Net::kNone) return {};
  LB_ASSIGN(const store::Image image, store::open_image(reference, dirs));
  RunSettings settings = run;
  take_ports(image.config.exposed_ports, settings, {});
  return {};
}

}  // namespace

Result<void> package_command(const StateDirs& dirs, const Options& options) {
  PackageOptions package;
  // What is wrong in them is to be said here, and not by each container.
  LB_ASSIGN(const Options run, packaged_run(options.guest_command, options.image, {}));
  LB_ASSIGN(package.run_options, words_to_store(options.guest_command, run));
  if (!run.file_environment.empty())
    log_info("the variables of --env-file are in the image, where everybody who has it can read them");
  package.ports = ports_of(run);
  if (!options.image_name.empty()) {
    LB_ASSIGN(package.name, name_to_give(options.image_name));
  }
  LB_ASSIGN(package.layerboot, own_program());
  LB_ASSIGN(package.vfsd, find_vfsd(options.vfsd));
  LB_ASSIGN(package.guest_init, find_guest_init(options.guest_init));
  LB_ASSIGN(package.image, supply_image(dirs, options.image, supply_options(options)));
  LB_TRY(tell_of_ports(dirs, package.image, run));
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
