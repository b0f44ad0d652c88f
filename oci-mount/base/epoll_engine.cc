#include "oci-mount/base/epoll_engine.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "oci-mount/base/worker_pool.h"

namespace layerboot {

namespace {

IoCompletion* completion_of(const io_uring_sqe& operation) {
  return static_cast<IoCompletion*>(reinterpret_cast<void*>(operation.user_data));
}

ssize_t call(const io_uring_sqe& operation, int flags) {
  const auto* const slices = reinterpret_cast<const iovec*>(operation.addr);
  const auto count = static_cast<int>(operation.len);
  const auto offset = static_cast<off_t>(operation.off);
  switch (operation.opcode) {
    case IORING_OP_READV:
      return ::preadv2(operation.fd, slices, count, offset, flags);
    case IORING_OP_WRITEV:
      return ::pwritev2(operation.fd, slices, count, offset, flags);
    case IORING_OP_FSYNC:
      return (operation.fsync_flags & IORING_FSYNC_DATASYNC) != 0 ? ::fdatasync(operation.fd)
                                                                  : ::fsync(operation.fd);
    case IORING_OP_FALLOCATE:  // the mode and the length are where others have count and slices
      return ::fallocate(operation.fd, count, offset, static_cast<off_t>(operation.addr));
    default:
      errno = EINVAL;
      return -1;
  }
}

/// For as long as it takes.
std::int32_t perform(const io_uring_sqe& operation) {
  ssize_t done = -1;
  do {
    done = call(operation, 0);
  } while (done < 0 && errno == EINTR);
  return static_cast<std::int32_t>(done < 0 ? -errno : done);
}

int milliseconds_of(std::optional<std::chrono::nanoseconds> time) {
  if (!time) return -1;
  const auto up = std::chrono::ceil<std::chrono::milliseconds>(*time).count();
  return static_cast<int>(std::clamp<std::int64_t>(up, 0, INT_MAX));
}

}  // namespace

Result<std::unique_ptr<EpollEngine>> EpollEngine::create() {
  std::unique_ptr<EpollEngine> engine(new EpollEngine);
  LB_TRY(engine->init());
  return engine;
}

Result<void> EpollEngine::init() {
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return errno_error("epoll");
  wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return errno_error("eventfd");
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) return errno_error("epoll");
  workers_ = std::make_unique<WorkerPool>(kThreads);
  workers_->start();
  return {};
}

EpollEngine::~EpollEngine() = default;

std::optional<std::int32_t> EpollEngine::try_now(const io_uring_sqe& operation) {
  const bool is_write = operation.opcode == IORING_OP_WRITEV;
  if (is_write ? !writes_at_once_ : operation.opcode != IORING_OP_READV) return {};
  const ssize_t done = call(operation, RWF_NOWAIT);
  if (done >= 0) return static_cast<std::int32_t>(done);
  if (is_write && errno == EOPNOTSUPP) writes_at_once_ = false;
  return {};  // whatever it was: who does it without the flag is told what is wrong
}

void EpollEngine::submit(const io_uring_sqe& operation) {
  if (const auto result = try_now(operation)) {
    ready_.push_back({completion_of(operation), *result, 0});
    return;
  }
  workers_->submit([this, &operation] { finish_elsewhere(operation, perform(operation)); });
}

void EpollEngine::finish_elsewhere(const io_uring_sqe& operation, std::int32_t result) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = by_workers_.empty();
    by_workers_.push_back({completion_of(operation), result, 0});
  }
  if (first) ::eventfd_write(wake_.get(), 1);
}

void EpollEngine::take_from_workers() {
  const std::lock_guard lock(mutex_);
  batch_.insert(batch_.end(), by_workers_.begin(), by_workers_.end());
  by_workers_.clear();
}

void EpollEngine::watch(int fd, IoCompletion& completion) {
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = &completion}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) ready_.push_back({&completion, -errno, 0});
}

void EpollEngine::unwatch(int fd, IoCompletion& completion) {
  // What is not there has failed, and had its last call then.
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) != 0) return;
  // After what may have been gathered of it.
  ready_.push_back({&completion, -ECANCELED, 0});
}

void EpollEngine::gather(std::optional<std::chrono::nanoseconds> at_most) {
  batch_.clear();
  handled_ = 0;
  batch_.swap(ready_);
  std::array<epoll_event, kMaxEvents> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 batch_.empty() ? milliseconds_of(at_most) : 0);
  for (int i = 0; i < count; ++i) {
    auto* const completion = static_cast<IoCompletion*>(events[static_cast<std::size_t>(i)].data.ptr);
    if (completion == nullptr) {
      take_from_workers();
    } else {
      batch_.push_back({completion, EPOLLIN, IORING_CQE_F_MORE});
    }
  }
}

void EpollEngine::run_batch(std::optional<std::chrono::nanoseconds> at_most) {
  if (handled_ == batch_.size()) gather(at_most);
  for (unsigned count = 0; count < kMaxIoBatch && handled_ < batch_.size(); ++count) {
    const Done done = batch_[handled_++];
    done.completion->complete(done.result, done.flags);
  }
}

}  // namespace layerboot
