#include "oci-mount/base/io_ring.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "oci-mount/base/sanitizers.h"

namespace layerboot {

namespace {

/// All that a Reactor ever asks of its ring. The ring refuses the rest (EACCES): it would else be a way
/// around seccomp, which does not see what goes through a ring. SQE flags and registrations are refused as
/// well.
constexpr std::array<std::uint8_t, 6> kOpcodes{IORING_OP_READV,    IORING_OP_WRITEV,
                                               IORING_OP_FSYNC,    IORING_OP_FALLOCATE,
                                               IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE};

/// liburing maps rings by system calls of its own, which ThreadSanitizer does not see: without these two, a
/// ring that lies where another thread's lay before is a race to it.
#if defined(LAYERBOOT_THREAD_SANITIZER)
int rings_of_this_process;
void note_mapped() { __tsan_acquire(&rings_of_this_process); }
void note_unmapped() { __tsan_release(&rings_of_this_process); }
#else
void note_mapped() {}
void note_unmapped() {}
#endif

/// REQUIRES: the ring is disabled, as it is set up.
Result<void> restrict_ring(const io_uring& ring) {
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

struct Ignore final : IoCompletion {
  void complete(std::int32_t, std::uint32_t) override {}
};
Ignore ignore;

}  // namespace

Result<void> IoRing::set_up() {
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
  note_mapped();
  auto restricted = restrict_ring(ring_);
  is_set_up_ = restricted.has_value();
  if (!is_set_up_) ::io_uring_queue_exit(&ring_);
  return restricted;
}

IoRing::~IoRing() {
  if (!is_set_up_) return;
  note_unmapped();
  ::io_uring_queue_exit(&ring_);
}

void IoRing::watch(int fd, IoCompletion& completion) {
  io_uring_sqe* const entry = free_entry();
  ::io_uring_prep_poll_multishot(entry, fd, POLLIN);
  ::io_uring_sqe_set_data(entry, &completion);
}

void IoRing::unwatch(int, IoCompletion& completion) {
  io_uring_sqe* const entry = free_entry();
  ::io_uring_prep_poll_remove(entry, reinterpret_cast<std::uint64_t>(&completion));
  ::io_uring_sqe_set_data(entry, static_cast<IoCompletion*>(&ignore));
  ::io_uring_submit(&ring_);
}

void IoRing::run_batch(std::optional<std::chrono::nanoseconds> at_most) {
  if (!at_most) {
    ::io_uring_submit_and_wait(&ring_, 1);
  } else {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*at_most);
    __kernel_timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (*at_most - seconds).count()};
    io_uring_cqe* first = nullptr;
    // The time goes with the call (IORING_FEAT_EXT_ARG): no opcode that the ring would have to allow.
    ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, &timeout, nullptr);
  }
  io_uring_cqe* entries[kMaxIoBatch];
  const unsigned count = ::io_uring_peek_batch_cqe(&ring_, entries, kMaxIoBatch);
  for (unsigned i = 0; i < count; ++i) {
    auto* const completion = static_cast<IoCompletion*>(::io_uring_cqe_get_data(entries[i]));
    const auto result = entries[i]->res;
    const auto flags = entries[i]->flags;
    ::io_uring_cqe_seen(&ring_, entries[i]);
    completion->complete(result, flags);
  }
}

}  // namespace layerboot
