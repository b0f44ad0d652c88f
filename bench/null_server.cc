// null_server: the least that any vhost-user-fs server does: takes requests, answers each from one buffer.
// What it costs is what the ring, the wake-ups and the copy of the reply cost, and no server can go below.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <array>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "bench/null_answers.h"
#include "oci-mount/base/log.h"
#include "vfsd/daemon/listener.h"
#include "vfsd/vhost/backend.h"
#include "vfsd/vhost/channel.h"

namespace layerboot::bench {
namespace {

namespace vhost = vfsd::vhost;

/// One queue on a thread of its own, which sleeps in epoll_wait(2) between kicks: edge-triggered, so that a
/// kick need not be read.
class NullQueue {
 public:
  NullQueue() = default;
  ~NullQueue() { (void)stop(); }
  NullQueue(const NullQueue&) = delete;
  NullQueue& operator=(const NullQueue&) = delete;

  void start(vhost::Rings rings, bool event_idx, std::uint16_t next_available, int kick_fd) {
    queue_.emplace(std::move(rings), event_idx, next_available);
    epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    for (const int fd : {kick_fd, stop_.get()}) {
      epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.fd = fd}};
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
    }
    thread_ = std::jthread([this] { serve(); });
  }
  std::uint16_t stop() {
    if (!queue_) return 0;
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
    eventfd_t count = 0;
    ::eventfd_read(stop_.get(), &count);
    const auto next = queue_->next_available();
    queue_.reset();
    return next;
  }
  /// The former ones stay open: the thread may be about to write to one. An answer that it gave meanwhile was
  /// told to a former one or to none, so the new one is told once for nothing, as vfsd does.
  void set_call(UniqueFd call) {
    call_fd_ = call.get();
    if (queue_) ::eventfd_write(call.get(), 1);
    calls_.push_back(std::move(call));
  }

 private:
  void serve() {
    for (;;) {
      do {
        if (!take_all()) return;
        if (queue_->unpublished() > 0 && queue_->publish()) ::eventfd_write(call_fd_, 1);
      } while (queue_->enable_kicks());
      epoll_event event{};
      ::epoll_wait(epoll_.get(), &event, 1, -1);
      if (event.data.fd == stop_.get()) return;
    }
  }
  bool take_all() {
    queue_->disable_kicks();
    Error why;
    for (;;) {
      const auto popped = queue_->pop(chain_, &why);
      if (!popped) {
        log_error(popped.error().describe());
        return false;
      }
      if (*popped == vhost::Virtqueue::Pop::kEmpty) return true;
      const bool sound = *popped == vhost::Virtqueue::Pop::kChain;
      const std::size_t length = sound ? answers_.answer(chain_.readable, chain_.writable) : 0;
      queue_->push(chain_.head, static_cast<std::uint32_t>(length));
    }
  }

  NullAnswers answers_;
  vhost::Chain chain_;
  std::optional<vhost::Virtqueue> queue_;
  std::vector<UniqueFd> calls_;
  std::atomic<int> call_fd_ = -1;
  UniqueFd epoll_;
  UniqueFd stop_{::eventfd(0, EFD_CLOEXEC)};
  std::jthread thread_;
};

/// The high-priority queue and one request queue.
class NullHost final : public vhost::QueueHost {
 public:
  [[nodiscard]] unsigned queue_count() const override { return static_cast<unsigned>(queues_.size()); }
  void start(unsigned index, vhost::Rings rings, bool event_idx, std::uint16_t next_available,
             int kick_fd) override {
    queues_[index].start(std::move(rings), event_idx, next_available, kick_fd);
  }
  std::uint16_t stop(unsigned index) override { return queues_[index].stop(); }
  void move_to(unsigned, vhost::Rings) override { log_error("the guest's memory must stay as it is"); }
  void set_call(unsigned index, UniqueFd call_fd) override { queues_[index].set_call(std::move(call_fd)); }

 private:
  std::array<NullQueue, 2> queues_;
};

Result<void> serve(const std::filesystem::path& socket_path) {
  LB_ASSIGN(auto listener, vfsd::Listener::bind(socket_path));
  const UniqueFd listening = listener.take_socket();
  pollfd waiting{listening.get(), POLLIN, 0};
  if (::poll(&waiting, 1, -1) < 0) return errno_error("poll");
  UniqueFd socket(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) return errno_error("accept");
  LB_ASSIGN(auto channel, vhost::Channel::adopt(std::move(socket)));
  NullHost host;
  vhost::Backend backend(host);
  for (waiting.fd = channel.fd();;) {
    auto message = channel.receive();
    if (!message && message.error().code == ENOTCONN) return {};
    if (!message) return std::unexpected(message.error());
    if (!*message) {
      ::poll(&waiting, 1, -1);
      continue;
    }
    const auto header = (*message)->header;
    if (const auto reply = backend.handle(std::move(**message))) LB_TRY(channel.reply(header, *reply));
  }
}

}  // namespace
}  // namespace layerboot::bench

int main(int argc, char** argv) {
  using namespace layerboot;
  std::filesystem::path socket;
  CLI::App app("Answers one front end's requests with nothing behind it: the limit of any server.",
               "null_server");
  app.add_option("--socket-path", socket, "where to listen")->required();
  CLI11_PARSE(app, argc, argv);
  log_setup("null_server", LogLevel::kInfo);
  const auto served = bench::serve(socket);
  if (served) return 0;
  log_error(served.error().describe());
  return 1;
}
