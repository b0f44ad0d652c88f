// vfsd: the daemon. Wiring only.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string_view>

#include "oci-mount/base/log.h"
#include "vfsd/daemon/listener.h"
#include "vfsd/daemon/options.h"
#include "vfsd/daemon/queue_set.h"
#include "vfsd/daemon/serve_image.h"
#include "vfsd/daemon/server.h"

namespace layerboot::vfsd {
namespace {

/// What libvirt asks of a vhost-user back end (docs/interop/vhost-user.json of QEMU).
constexpr std::string_view kCapabilities = "{\n  \"type\": \"fs\"\n}\n";

LogLevel log_level(const Options& options) {
  if (options.debug) return LogLevel::kDebug;
  return options.quiet ? LogLevel::kWarn : LogLevel::kInfo;
}

Result<void> announce_ready(int ready_fd) {
  if (ready_fd < 0) return {};
  const UniqueFd fd(ready_fd);
  constexpr std::string_view kReady = "ready\n";
  if (::write(ready_fd, kReady.data(), kReady.size()) < 0) return errno_error("--ready-fd ", ready_fd);
  return {};
}

Result<void> serve(const Options& options) {
  // First of all, so that a socket in use is reported before an image is indexed.
  LB_ASSIGN(auto listener, options.socket_fd >= 0 ? Listener::adopt(options.socket_fd)
                                                  : Listener::bind(options.socket_path));
  LB_ASSIGN(const auto image, serve_image(options));
  LB_ASSIGN(const auto reactor, Reactor::create());
  {
    fuse::Session session(*image.file_system, fuse::SessionOptions{.read_only = options.read_only});
    LB_ASSIGN(const auto queues, QueueSet::create(session, options.request_queues));
    vhost::Backend backend(*queues);
    Server server(listener, backend, session, options.once);
    LB_TRY(announce_ready(options.ready_fd));
    log_info(
        "serving ", options.image, " on ",
        options.socket_fd >= 0 ? str_cat("descriptor ", options.socket_fd) : options.socket_path.native());
    server.run();
  }
  auto synced = reactor->block_on(image.file_system->syncfs(*reactor));
  if (!synced) return while_doing(std::move(synced).error(), "writing back ", options.upper.native());
  return {};
}

}  // namespace
}  // namespace layerboot::vfsd

int main(int argc, char** argv) {
  using namespace layerboot;
  const auto parsed = vfsd::parse_options(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  if (parsed.options.print_capabilities) {
    std::fwrite(vfsd::kCapabilities.data(), 1, vfsd::kCapabilities.size(), stdout);
    return 0;
  }
  log_setup("vfsd", vfsd::log_level(parsed.options));
  std::signal(SIGPIPE, SIG_IGN);
  const auto served = vfsd::serve(parsed.options);
  if (served) return 0;
  log_error(served.error().describe());
  return 1;
}
