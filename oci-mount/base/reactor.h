// Reactor: one thread's event loop, on io_uring or, where that is refused, on epoll and a few threads.
//
// Everything a data path waits for goes through it: reads and writes of blobs and upper files,
// fsync, kick eventfds. A Reactor belongs to the thread that has created it; only post() and stop() may be
// called from others, and it may be destroyed by another when that one has ended.
#pragma once

#include <sys/uio.h>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/base/epoll_engine.h"
#include "oci-mount/base/io_engine.h"
#include "oci-mount/base/io_ring.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/task.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot {

class Reactor {
 public:
  /// On the engine that is wanted. kAuto never fails for want of io_uring: see engine_refusal().
  static Result<std::unique_ptr<Reactor>> create(IoEngine wanted = io_engine_from_environment());
  /// Runs on until no Hold is left. REQUIRES: nothing else is in flight.
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  /// kUring or kEpoll.
  [[nodiscard]] IoEngine engine() const { return epoll_ ? IoEngine::kEpoll : IoEngine::kUring; }
  /// Why it is not io_uring although that was to be tried; else empty.
  [[nodiscard]] const std::string& engine_refusal() const { return engine_refusal_; }

  /// Work that nobody awaits holds its reactor for as long as it lasts: run() and the destructor then go on
  /// until it has ended. Made, moved and destroyed on the reactor's thread.
  class [[nodiscard]] Hold {
   public:
    explicit Hold(Reactor& reactor) : reactor_(&reactor) { ++reactor.holds_; }
    Hold(Hold&& other) noexcept : reactor_(std::exchange(other.reactor_, nullptr)) {}
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    Hold& operator=(Hold&&) = delete;
    ~Hold() {
      if (reactor_ != nullptr) --reactor_->holds_;
    }

   private:
    Reactor* reactor_;
  };

  /// An I/O to co_await; gives a byte count (0 at the end of the file) or the errno's Error.
  /// The buffers must live until then, as they do when they belong to the awaiting coroutine.
  class [[nodiscard]] Io final : public IoCompletion {
   public:
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> awaiter);
    Result<std::size_t> await_resume() const;

   private:
    friend class Reactor;
    Io(Reactor& reactor, io_uring_sqe prepared) : reactor_(reactor), prepared_(prepared) {}
    void complete(std::int32_t result, std::uint32_t flags) override;

    Reactor& reactor_;
    io_uring_sqe prepared_;
    std::coroutine_handle<> awaiter_;
    std::int32_t result_ = 0;
  };

  /// `slices` itself must live as long as the buffers it names. At most IOV_MAX slices. A count may be less
  /// than was asked for although the file goes on: see whole_io.h.
  Io readv(int fd, std::span<const iovec> slices, std::uint64_t offset);
  Io writev(int fd, std::span<const iovec> slices, std::uint64_t offset);
  Io fsync(int fd, bool data_only);
  Io fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length);

  /// Calls `on_readable` on this thread each time `fd` becomes readable, until unwatch(fd).
  /// One call for each wake-up of the descriptor: the callback deals with all that is there, or sees to it
  /// that it is called for the rest. An eventfd that only wakes need not be read. One watch per descriptor.
  /// One that can't be waited for is said in the log, and never called for.
  void watch(int fd, std::function<void()> on_readable);
  /// After this returns, the callback is not called again. Unknown descriptors are ignored.
  void unwatch(int fd);

  /// Runs `work` on the reactor's thread, soon. Thread-safe. Order is kept.
  void post(std::function<void()> work);

  /// Calls `work` once on this thread, `delay` from now or somewhat later; not at all if the reactor ends
  /// before. For the reactor's own thread, and a few at a time.
  void call_after(std::chrono::nanoseconds delay, std::function<void()> work);

  /// Called after each batch of completions and posts: the place to publish replies once for all.
  void set_after_batch(std::function<void()> hook) { after_batch_ = std::move(hook); }

  /// Runs until stop(), and until no Hold is left. Work posted before stop() was called is done first.
  void run();
  /// Thread-safe.
  void stop();

  /// Runs until no Hold is left.
  void run_until_released();

  /// Runs until `task` is done and gives its value: for programs whose whole work is one task.
  template <typename T>
  T block_on(Task<T> task) {
    std::optional<T> value;
    start(std::move(task), [&](T result) { value.emplace(std::move(result)); });
    while (!value) run_once();
    return std::move(*value);
  }

 private:
  struct Watch;

  Reactor() = default;
  Result<void> init(IoEngine wanted);
  // Which engine is asked at each of these, rather than by a virtual call: it is the same answer every time.
  void submit(const io_uring_sqe& operation) { epoll_ ? epoll_->submit(operation) : ring_.submit(operation); }
  void arm(Watch& watch);
  void disarm(Watch& watch);
  void run_once();
  void run_due();
  void run_posted();
  /// Until what is due first; nothing where nothing is.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> time_left() const;

  // Declared first, destroyed last: they outlive whatever still names them.
  IoRing ring_;                         // without epoll_
  std::unique_ptr<EpollEngine> epoll_;  // or this
  std::string engine_refusal_;
  UniqueFd wake_fd_;
  std::function<void()> after_batch_;
  std::multimap<std::chrono::steady_clock::time_point, std::function<void()>> due_;
  std::map<int, std::unique_ptr<Watch>> watches_;
  std::vector<std::unique_ptr<Watch>> dying_watches_;  // unwatched, their last completion still to come
  bool running_ = false;
  unsigned holds_ = 0;

  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

/// Says by what it works, in a line of the log: to whoever reads along where io_uring was refused, else to
/// who looks for faults.
void tell_engine(const Reactor& reactor);

}  // namespace layerboot
