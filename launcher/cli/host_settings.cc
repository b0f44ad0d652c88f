#include "launcher/cli/host_settings.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "launcher/host/network_check.h"
#include "launcher/vm/named_volumes.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

/// Somebody who leaves out the "./" may mean the directory that is here.
void tell_of_directories(const Options& options) {
  std::error_code ignored;
  for (const Volume& volume : options.volumes) {
    if (!volume.name.empty() && std::filesystem::exists(volume.name, ignored))
      log_info("volume ", volume.name, " is one that layerboot keeps; the directory here is ./", volume.name);
  }
}

Result<void> choose_port(PublishedPort& port) {
  if (!port.random) return {};
  if (port.host == 0 || !check_port_free(port.address, port.host, port.udp)) {
    LB_ASSIGN(port.host, find_free_port(port.address, port.udp));
  }
  log_info(port.address, ':', port.host, " leads to the guest's port ", port.guest,
           port.udp ? "/udp" : "/tcp");
  return {};
}

/// Tried with Debian's cloud kernel 6.12 and its initrd (DESIGN.md): with less a guest panics before its
/// first program, or stands still. Another kernel may do with less.
Result<void> check_memory(const Options& options) {
  constexpr std::uint64_t kDebianBytes = std::uint64_t{80} << 20;
  if (options.kernel != "debian" || options.memory_bytes >= kDebianBytes) return {};
  return fail(EINVAL, "--memory ", human_size(options.memory_bytes), ": Debian's kernel needs ",
              human_size(kDebianBytes), " to run a command, and about 128 MiB to boot systemd");
}

/// What a guest was promised and this machine does not have shows only when the guest uses it.
void warn_of_sizes(const Options& options) {
  constexpr std::uint64_t kRoomyBytes = std::uint64_t{128} << 20;
  const auto pages = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES)));
  const std::uint64_t present = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  if (options.memory_bytes > present) {
    log_warn("the guest may take ", human_size(options.memory_bytes), " of memory, and this machine has ",
             human_size(present), ": what it really uses has to fit");
  }
  if (options.memory_bytes < kRoomyBytes) {
    log_warn(human_size(options.memory_bytes),
             " of memory may do for a command; to boot systemd takes about ", human_size(kRoomyBytes),
             ": -m gives more");
  }
  const unsigned cores = std::thread::hardware_concurrency();
  constexpr unsigned kManyPerCore = 8;
  if (cores != 0 && options.cpus > kManyPerCore * cores)
    log_warn(options.cpus, " processors on ", cores, " of this machine's: the guest will be slow");
}

}  // namespace

Result<void> settle_on_host(const StateDirs& dirs, Options& options) {
  LB_TRY(check_memory(options));
  warn_of_sizes(options);
  tell_of_directories(options);
  LB_TRY(settle_named_volumes(dirs, options));
  if (options.publish_all && !options.image.empty()) {
    LB_ASSIGN(const store::Image image,
              store::open_image(options.image, dirs, {.platform = image_platform(options)}));
    LB_TRY(publish_exposed(image.config.exposed_ports, options));
  }
  for (PublishedPort& port : options.published) LB_TRY(choose_port(port));
  return {};
}

}  // namespace layerboot::launcher
