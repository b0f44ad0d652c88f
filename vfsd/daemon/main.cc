// vfsd: the daemon. Wiring only.
#include <malloc.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string_view>

#include "oci-mount/base/log.h"
#include "oci-mount/overlay/upper.h"
#include "vfsd/daemon/control_server.h"
#include "vfsd/daemon/listener.h"
#include "vfsd/daemon/options.h"
#include "vfsd/daemon/queue_set.h"
#include "vfsd/daemon/ready_line.h"
#include "vfsd/daemon/sandbox.h"
#include "vfsd/daemon/seccomp.h"
#include "vfsd/daemon/serve_image.h"
#include "vfsd/daemon/server.h"
#include "vfsd/daemon/stop_deadline.h"

namespace layerboot::vfsd {
namespace {

/// What libvirt asks of a vhost-user back end (docs/interop/vhost-user.json of QEMU).
constexpr std::string_view kCapabilities = "{\n  \"type\": \"fs\"\n}\n";

LogLevel log_level(const Options& options) {
  if (options.debug) return LogLevel::kDebug;
  return options.quiet ? LogLevel::kWarn : LogLevel::kInfo;
}

/// So that who starts us can say what is to be done about it.
constexpr int kOtherImageExitCode = 3;

/// The server takes these signals while it runs. Before and after, they wait: a stop must not interrupt
/// writing back.
void mask_stop_signals(int how) {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT}) ::sigaddset(&signals, number);
  ::pthread_sigmask(how, &signals, nullptr);
}

void log_requests(const QueueSet& queues) {
  fuse::RequestCounts counts;
  queues.add_counts(counts);
  if (const auto total = counts.total(); total != 0) log_debug(total, " requests: ", counts.describe());
}

Result<void> serve(const Options& options, std::chrono::steady_clock::time_point began) {
  LB_ASSIGN(auto sandbox, Sandbox::enter(options.sandbox, !options.read_only, !options.share.empty()));
  // Before the image, so that a socket in use is reported before an image is indexed.
  LB_ASSIGN(auto listener, options.socket_fd >= 0 ? Listener::adopt(options.socket_fd)
                                                  : Listener::bind(options.socket_path));
  std::optional<Listener> control_listener;
  if (!options.control_socket.empty()) {
    LB_ASSIGN(auto bound, Listener::bind(options.control_socket, "--control-socket"));
    control_listener.emplace(std::move(bound));
  }
  const bool in_place = !options.share.empty();
  if (!in_place && !options.read_only) LB_TRY(sandbox.hold_upper(options.upper));
  LB_ASSIGN(const auto image, serve_image(options, sandbox));
  LB_TRY(sandbox.close(image.served()));
  mask_stop_signals(SIG_BLOCK);  // in all threads to come, too
  image.workers().start();       // no thread can be started later
  LB_ASSIGN(const auto reactor, Reactor::create(options.io_engine));
  tell_engine(*reactor);
  std::optional<StopDeadline> deadline;
  if (in_place) deadline.emplace(str_cat("directory ", options.share.native()));
  {
    fuse::Session session(*image.file_system, fuse::SessionOptions{.read_only = options.read_only,
                                                                   .zero_message_open = !options.send_opens,
                                                                   .shared = in_place,
                                                                   .writeback = options.writeback});
    LB_ASSIGN(const auto queues,
              QueueSet::create(session, options.request_queues, image.memory(), reactor->engine(),
                               deadline ? &*deadline : nullptr));
    vhost::Backend backend(*queues);
    Server server(listener, backend, session, options.once);
    std::optional<ControlServer> control;
    if (control_listener) {
      control.emplace(server.io(), *control_listener,
                      ControlTarget{.quota = image.quota,
                                    .memory = &image.memory(),
                                    .inodes_follow_bytes = options.quota_inodes == 0,
                                    .add_counts = [&](auto& sum) { queues->add_counts(sum); },
                                    .has_front_end = [&] { return server.has_front_end(); }});
    }
    LB_TRY(allow_only_serving(options.seccomp, {.upper = !options.read_only || in_place,
                                                .callers = !options.read_only && in_place,
                                                .peer_names = control.has_value(),
                                                .image_files = image.served() == Served::kImageDirectory,
                                                .engine = reactor->engine()}));
    LB_TRY(announce_ready(options.ready_fd, {.began = began, .indexes_open = image.indexes_open}));
    log_info(
        "serving ", in_place ? options.share.native() : options.image, " on ",
        options.socket_fd >= 0 ? str_cat("descriptor ", options.socket_fd) : options.socket_path.native());
    mask_stop_signals(SIG_UNBLOCK);
    server.run();
    mask_stop_signals(SIG_BLOCK);
    log_requests(*queues);
  }
  if (deadline) deadline->begin();
  auto synced = reactor->block_on(image.file_system->syncfs(*reactor));
  if (!synced)
    return while_doing(std::move(synced).error(), "writing back ",
                       (in_place ? options.share : options.upper).native());
  return image.file_system->stop();
}

}  // namespace
}  // namespace layerboot::vfsd

int main(int argc, char** argv) {
  const auto began = std::chrono::steady_clock::now();
  using namespace layerboot;
  const auto parsed = vfsd::parse_options(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  if (parsed.options.print_capabilities) {
    std::fwrite(vfsd::kCapabilities.data(), 1, vfsd::kCapabilities.size(), stdout);
    return 0;
  }
  log_setup("vfsd", vfsd::log_level(parsed.options));
  std::signal(SIGPIPE, SIG_IGN);
  // Of several arenas each could keep what a guest has made on another queue and let go of again: more than
  // the limit.
  ::mallopt(M_ARENA_MAX, 1);
  const auto served = vfsd::serve(parsed.options, began);
  if (served) return 0;
  log_error(served.error().describe());
  return served.error().code == overlay::kOtherImage ? vfsd::kOtherImageExitCode : 1;
}
