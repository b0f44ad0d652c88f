#include "vfsd/daemon/serve.h"

#include <array>
#include <csignal>
#include <functional>
#include <optional>
#include <vector>

#include "oci-mount/base/log.h"
#include "vfsd/daemon/control_server.h"
#include "vfsd/daemon/descriptors.h"
#include "vfsd/daemon/listener.h"
#include "vfsd/daemon/queue_set.h"
#include "vfsd/daemon/ready_line.h"
#include "vfsd/daemon/sandbox.h"
#include "vfsd/daemon/seccomp.h"
#include "vfsd/daemon/serve_image.h"
#include "vfsd/daemon/served_queue.h"
#include "vfsd/daemon/socket_keeper.h"
#include "vfsd/daemon/stop_deadline.h"

namespace layerboot::vfsd {

namespace {

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

struct Doors {
  SocketKeeper keeper;
  Listener front_end;
  std::optional<Listener> control;
};

/// Before the sandbox, in which a group of the host may have no number; and before the image, so that a
/// socket in use is reported before an image is indexed.
Result<Doors> open_doors(const Options& options) {
  LB_ASSIGN(auto front_end, options.socket_fd >= 0
                                ? Listener::adopt(options.socket_fd)
                                : Listener::bind(options.socket_path, "--socket-path", options.socket_group));
  std::optional<Listener> control;
  if (!options.control_socket.empty()) {
    LB_ASSIGN(auto bound, Listener::bind(options.control_socket, "--control-socket"));
    control.emplace(std::move(bound));
  }
  std::vector<SocketFile> files;
  if (auto file = front_end.take_file()) files.push_back(*std::move(file));
  if (auto file = control ? control->take_file() : std::nullopt) files.push_back(*std::move(file));
  LB_ASSIGN(auto keeper, SocketKeeper::start(std::move(files), options.seccomp));
  return Doors{std::move(keeper), std::move(front_end), std::move(control)};
}

ServingCalls calls_for(const Options& options, const ServedImage& image, IoEngine engine) {
  const bool in_place = !options.share.empty();
  return {.changes = !options.read_only,
          .callers = !options.read_only && in_place,
          .lookups = in_place,
          .image_files = image.served() == Served::kImageDirectory,
          .engine = engine};
}

/// All threads are there, and none can come.
Result<void> shut_and_work(const Options& options, const ServedImage& image, IoEngine engine, Server& server,
                           std::chrono::steady_clock::time_point began, const Work& work) {
  LB_TRY(allow_only_serving(options.seccomp, calls_for(options, image, engine)));
  LB_TRY(announce_ready(options.ready_fd, {.began = began, .indexes_open = image.indexes_open}));
  const std::string& what = options.share.empty() ? options.image : options.share.native();
  // Who has handed a connection down is told by the ready line, and has a person of its own to talk to.
  if (options.socket_fd >= 0) {
    log_debug("serving ", what, " on descriptor ", options.socket_fd);
  } else {
    log_info("serving ", what, " on ", options.socket_path.native());
  }
  mask_stop_signals(SIG_UNBLOCK);
  work(server);
  mask_stop_signals(SIG_BLOCK);
  return {};
}

}  // namespace

Result<void> serve(const Options& options, std::chrono::steady_clock::time_point began, const Work& work) {
  const bool in_place = !options.share.empty();
  LB_TRY(close_stray_descriptors(std::array{options.socket_fd, options.ready_fd}));
  LB_ASSIGN(auto doors, open_doors(options));
  LB_ASSIGN(auto sandbox, Sandbox::enter(options.sandbox, !options.read_only, in_place));
  if (!sandbox.knows_users()) doors.front_end.leave_peers_to_mode();
  LB_ASSIGN(const auto image, serve_image(options, sandbox));
  LB_TRY(sandbox.close(image.served(), options.request_queues * ServedQueue::kMaxInFlight,
                       image.has_recorded_upper));
  mask_stop_signals(SIG_BLOCK);  // in all threads to come, too
  image.workers().start();       // no thread can be started later
  LB_ASSIGN(const auto reactor, Reactor::create(options.io_engine));
  tell_engine(*reactor);
  // What an upper is told to write may take its time.
  StopDeadline deadline(
      in_place ? str_cat("directory ", options.share.native()) : options.image,
      in_place ? StopDeadline::Answers() : [&image] { return image.source->reader.blob_answers(); });
  {
    fuse::Session session(*image.file_system, fuse::SessionOptions{.read_only = options.read_only,
                                                                   .zero_message_open = !options.send_opens,
                                                                   .shared = in_place,
                                                                   .writeback = options.writeback});
    LB_ASSIGN(const auto queues, QueueSet::create(session, options.request_queues, image.memory(),
                                                  reactor->engine(), &deadline));
    vhost::Backend backend(*queues);
    Server server(doors.front_end, backend, session, options.once);
    deadline.set_last_act([&server] { server.hang_up_at_once(); });
    std::optional<ControlServer> control;
    if (doors.control) {
      control.emplace(server.io(), *doors.control,
                      ControlTarget{.quota = image.quota,
                                    .memory = &image.memory(),
                                    .inodes_follow_bytes = options.quota_inodes == 0,
                                    .add_counts = [&](auto& sum) { queues->add_counts(sum); },
                                    .has_front_end = [&] { return server.has_front_end(); }});
    }
    LB_TRY(shut_and_work(options, image, reactor->engine(), server, began, work));
    log_requests(*queues);
    deadline.set_last_act({});
  }
  deadline.begin();
  auto synced = reactor->block_on(image.file_system->syncfs(*reactor));
  if (!synced)
    return while_doing(std::move(synced).error(), "writing back ",
                       (in_place ? options.share : options.upper).native());
  return image.file_system->stop();
}

}  // namespace layerboot::vfsd
