#include "oci-mount/base/reactor.h"

#include <sys/eventfd.h>

#include <algorithm>

#include "oci-mount/base/log.h"

namespace layerboot {

namespace {

template <typename Prepare>
io_uring_sqe prepared(Prepare prepare) {
  io_uring_sqe sqe{};
  prepare(&sqe);
  return sqe;
}

}  // namespace

/// One descriptor's.
struct Reactor::Watch final : IoCompletion {
  Watch(Reactor& reactor_in, int fd_in, std::function<void()> on_readable_in)
      : reactor(reactor_in), fd(fd_in), on_readable(std::move(on_readable_in)) {}

  void complete(std::int32_t result, std::uint32_t flags) override {
    const bool more = (flags & IORING_CQE_F_MORE) != 0;
    if (dying) {
      if (!more) {
        std::erase_if(reactor.dying_watches_, [this](const auto& w) { return w.get() == this; });
      }
      return;
    }
    if (result < 0) {
      failed = !more;
      return log_warn("descriptor ", fd, " can't be waited for: ", Error{-result, {}}.describe());
    }
    if (!more) reactor.arm(*this);
    const auto callback = on_readable;  // a copy: it may unwatch, or watch the same number anew
    callback();
  }

  Reactor& reactor;
  int fd;
  std::function<void()> on_readable;
  bool dying = false;
  bool failed = false;  // no completion comes any more
};

Result<std::unique_ptr<Reactor>> Reactor::create(IoEngine wanted) {
  std::unique_ptr<Reactor> reactor(new Reactor);
  LB_TRY(reactor->init(wanted));
  return reactor;
}

Result<void> Reactor::init(IoEngine wanted) {
  if (wanted != IoEngine::kEpoll) {
    auto ring = ring_.set_up();
    if (!ring && wanted == IoEngine::kUring) return ring;
    if (!ring) engine_refusal_ = ring.error().describe();
  }
  if (wanted == IoEngine::kEpoll || !engine_refusal_.empty()) {
    LB_ASSIGN(epoll_, EpollEngine::create());
  }
  wake_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_fd_) return errno_error("eventfd");
  watch(wake_fd_.get(), [this] { run_posted(); });
  return {};
}

Reactor::~Reactor() { run_until_released(); }

void Reactor::Io::await_suspend(std::coroutine_handle<> awaiter) {
  awaiter_ = awaiter;
  ::io_uring_sqe_set_data(&prepared_, static_cast<IoCompletion*>(this));
  reactor_.submit(prepared_);
}

Result<std::size_t> Reactor::Io::await_resume() const {
  if (result_ < 0) return fail(-result_);
  return static_cast<std::size_t>(result_);
}

void Reactor::Io::complete(std::int32_t result, std::uint32_t) {
  result_ = result;
  awaiter_.resume();
}

Reactor::Io Reactor::readv(int fd, std::span<const iovec> slices, std::uint64_t offset) {
  return {*this, prepared([&](io_uring_sqe* sqe) {
            ::io_uring_prep_readv(sqe, fd, slices.data(), static_cast<unsigned>(slices.size()), offset);
          })};
}

Reactor::Io Reactor::writev(int fd, std::span<const iovec> slices, std::uint64_t offset) {
  return {*this, prepared([&](io_uring_sqe* sqe) {
            ::io_uring_prep_writev(sqe, fd, slices.data(), static_cast<unsigned>(slices.size()), offset);
          })};
}

Reactor::Io Reactor::fsync(int fd, bool data_only) {
  return {*this, prepared([&](io_uring_sqe* sqe) {
            ::io_uring_prep_fsync(sqe, fd, data_only ? IORING_FSYNC_DATASYNC : 0U);
          })};
}

Reactor::Io Reactor::fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) {
  return {*this, prepared([&](io_uring_sqe* sqe) {
            // As io_uring_prep_fallocate(), whose parameters are off_t in one liburing and __u64 in the next.
            ::io_uring_prep_rw(IORING_OP_FALLOCATE, sqe, fd, nullptr, static_cast<unsigned>(mode), offset);
            sqe->addr = length;
          })};
}

void Reactor::arm(Watch& watch) { epoll_ ? epoll_->watch(watch.fd, watch) : ring_.watch(watch.fd, watch); }

void Reactor::disarm(Watch& watch) {
  epoll_ ? epoll_->unwatch(watch.fd, watch) : ring_.unwatch(watch.fd, watch);
}

void Reactor::watch(int fd, std::function<void()> on_readable) {
  unwatch(fd);
  auto& watch = watches_[fd];
  watch = std::make_unique<Watch>(*this, fd, std::move(on_readable));
  arm(*watch);
}

void Reactor::unwatch(int fd) {
  const auto found = watches_.find(fd);
  if (found == watches_.end()) return;
  auto watch = std::move(found->second);
  watches_.erase(found);
  if (watch->failed) return;
  watch->dying = true;
  disarm(*watch);
  dying_watches_.push_back(std::move(watch));
}

void Reactor::post(std::function<void()> work) {
  bool first = false;
  {
    const std::lock_guard lock(posted_mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(work));
  }
  if (first) ::eventfd_write(wake_fd_.get(), 1);
}

void Reactor::run_posted() {
  eventfd_t count = 0;
  ::eventfd_read(wake_fd_.get(), &count);
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(posted_mutex_);
    work.swap(posted_);
  }
  for (auto& item : work) item();
}

void Reactor::call_after(std::chrono::nanoseconds delay, std::function<void()> work) {
  due_.emplace(std::chrono::steady_clock::now() + delay, std::move(work));
}

void Reactor::run_due() {
  while (!due_.empty() && due_.begin()->first <= std::chrono::steady_clock::now()) {
    const auto work = std::move(due_.begin()->second);
    due_.erase(due_.begin());
    work();
  }
}

std::optional<std::chrono::nanoseconds> Reactor::time_left() const {
  if (due_.empty()) return {};
  const auto left = due_.begin()->first - std::chrono::steady_clock::now();
  return std::max(left, std::chrono::steady_clock::duration::zero());
}

void Reactor::run_once() {
  const auto at_most = time_left();
  epoll_ ? epoll_->run_batch(at_most) : ring_.run_batch(at_most);
  run_due();
  if (after_batch_) after_batch_();
}

void Reactor::run() {
  running_ = true;
  while (running_) run_once();
  run_until_released();
}

void Reactor::run_until_released() {
  while (holds_ > 0) run_once();
}

void Reactor::stop() {
  post([this] { running_ = false; });
}

void tell_engine(const Reactor& reactor) {
  if (!reactor.engine_refusal().empty()) {
    log_info("works by epoll and threads: ", reactor.engine_refusal());
  } else {
    log_debug("works by ", reactor.engine() == IoEngine::kUring ? "io_uring" : "epoll and threads");
  }
}

}  // namespace layerboot
