#include "oci-mount/base/reactor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace layerboot {

namespace {

/// All that a Reactor ever asks of its ring. The ring refuses the rest (EACCES): it would else be a way
/// around seccomp, which does not see what goes through a ring. SQE flags and registrations are refused as
/// well.
constexpr std::array<std::uint8_t, 7> kOpcodes{IORING_OP_READV,      IORING_OP_WRITEV,    IORING_OP_READ,
                                               IORING_OP_FSYNC,      IORING_OP_FALLOCATE, IORING_OP_POLL_ADD,
                                               IORING_OP_POLL_REMOVE};

template <typename Prepare>
io_uring_sqe prepared(Prepare prepare) {
  io_uring_sqe sqe{};
  prepare(&sqe);
  return sqe;
}

/// REQUIRES: the ring is disabled, as it is set up.
Result<void> restrict_ring(io_uring& ring) {
  std::array<io_uring_restriction, kOpcodes.size()> allowed{};
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
    allowed[i].sqe_op = kOpcodes[i];
  }
  // Not by liburing, whose 2.3 has these two in its header and not in its library.
  const auto call = [&](unsigned opcode, void* argument, unsigned count) {
    return ::syscall(SYS_io_uring_register, ring.ring_fd, opcode, argument, count);
  };
  if (call(IORING_REGISTER_RESTRICTIONS, allowed.data(), static_cast<unsigned>(allowed.size())) != 0 ||
      call(IORING_REGISTER_ENABLE_RINGS, nullptr, 0) != 0) {
    return errno_error("io_uring takes no restrictions");
  }
  return {};
}

}  // namespace

/// One descriptor's multishot poll.
struct Reactor::Watch final : Reactor::Completion {
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
    if (!more) reactor.arm(*this);
    if (result < 0) return;
    const auto callback = on_readable;  // a copy: it may unwatch, or watch the same number anew
    callback();
  }

  Reactor& reactor;
  int fd;
  std::function<void()> on_readable;
  bool dying = false;
};

Result<std::unique_ptr<Reactor>> Reactor::create() {
  std::unique_ptr<Reactor> reactor(new Reactor);
  LB_TRY(reactor->init());
  return reactor;
}

Result<void> Reactor::init() {
  constexpr unsigned kFlags = IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
  // Deferred, completions wait for this thread to ask: a wake-up is an eighth cheaper. Linux 6.1 and later.
  io_uring_params params{};
  params.flags = kFlags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  int status = ::io_uring_queue_init_params(kQueueEntries, &ring_, &params);
  if (status == -EINVAL) {
    params = {};
    params.flags = kFlags | IORING_SETUP_COOP_TASKRUN;
    status = ::io_uring_queue_init_params(kQueueEntries, &ring_, &params);
  }
  if (status < 0) {
    return fail(
        -status, "io_uring is not available (", Error{-status, {}}.describe(),
        "): it needs Linux 5.19 or later, sysctl kernel.io_uring_disabled=0, and a sandbox that allows it");
  }
  ring_ready_ = true;
  LB_TRY(restrict_ring(ring_));
  wake_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_fd_) return errno_error("eventfd");
  watch(wake_fd_.get(), [this] { run_posted(); });
  return {};
}

Reactor::~Reactor() {
  run_until_released();
  if (ring_ready_) ::io_uring_queue_exit(&ring_);
}

void Reactor::Io::await_suspend(std::coroutine_handle<> awaiter) {
  awaiter_ = awaiter;
  reactor_.submit(prepared_, this);
}

Result<std::size_t> Reactor::Io::await_resume() const {
  if (result_ < 0) return fail(-result_);
  return static_cast<std::size_t>(result_);
}

void Reactor::Io::complete(std::int32_t result, std::uint32_t) {
  result_ = result;
  awaiter_.resume();
}

void Reactor::submit(const io_uring_sqe& prepared, Completion* completion) {
  io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {
    ::io_uring_submit(&ring_);
    sqe = ::io_uring_get_sqe(&ring_);
  }
  *sqe = prepared;
  ::io_uring_sqe_set_data(sqe, completion);
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

Reactor::Io Reactor::read(int fd, std::span<std::byte> buffer, std::uint64_t offset) {
  return {*this, prepared([&](io_uring_sqe* sqe) {
            ::io_uring_prep_read(sqe, fd, buffer.data(), static_cast<unsigned>(buffer.size()), offset);
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

Reactor::Io Reactor::poll_in(int fd) {
  return {*this, prepared([&](io_uring_sqe* sqe) { ::io_uring_prep_poll_add(sqe, fd, POLLIN); })};
}

void Reactor::arm(Watch& watch) {
  submit(prepared([&](io_uring_sqe* sqe) { ::io_uring_prep_poll_multishot(sqe, watch.fd, POLLIN); }), &watch);
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
  Watch* watch = found->second.get();
  watch->dying = true;
  dying_watches_.push_back(std::move(found->second));
  watches_.erase(found);
  struct Ignore final : Completion {
    void complete(std::int32_t, std::uint32_t) override {}
  };
  static Ignore ignore;
  submit(prepared([&](io_uring_sqe* sqe) {
           ::io_uring_prep_poll_remove(sqe, reinterpret_cast<std::uint64_t>(static_cast<Completion*>(watch)));
         }),
         &ignore);
  // Submitted now: the caller may close the descriptor right after.
  ::io_uring_submit(&ring_);
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

/// Until something has completed, or is due.
void Reactor::wait() {
  if (due_.empty()) {
    ::io_uring_submit_and_wait(&ring_, 1);
    return;
  }
  using namespace std::chrono;
  const auto left = std::max(due_.begin()->first - steady_clock::now(), steady_clock::duration::zero());
  const auto seconds = duration_cast<std::chrono::seconds>(left);
  __kernel_timespec timeout{.tv_sec = seconds.count(), .tv_nsec = nanoseconds(left - seconds).count()};
  io_uring_cqe* first = nullptr;
  // The time goes with the call (IORING_FEAT_EXT_ARG): no opcode that the ring would have to allow.
  ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, &timeout, nullptr);
}

void Reactor::run_once() {
  wait();
  io_uring_cqe* cqes[kMaxBatch];
  const unsigned count = ::io_uring_peek_batch_cqe(&ring_, cqes, kMaxBatch);
  for (unsigned i = 0; i < count; ++i) {
    auto* completion = static_cast<Completion*>(::io_uring_cqe_get_data(cqes[i]));
    const auto result = cqes[i]->res;
    const auto flags = cqes[i]->flags;
    ::io_uring_cqe_seen(&ring_, cqes[i]);
    completion->complete(result, flags);
  }
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

}  // namespace layerboot
