#include "oci-mount/overlay/quota.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace layerboot::overlay {

namespace {

/// No more than there are numbers: a limit may be none.
std::uint64_t sum(std::uint64_t a, std::uint64_t b) { return a + std::min(b, UINT64_MAX - a); }

std::uint64_t left(std::uint64_t limit, std::uint64_t taken) { return limit > taken ? limit - taken : 0; }

}  // namespace

Quota::Reservation::Reservation(Reservation&& other) noexcept
    : quota_(std::exchange(other.quota_, nullptr)), held_(other.held_) {}

Quota::Reservation& Quota::Reservation::operator=(Reservation&& other) noexcept {
  std::swap(quota_, other.quota_);
  std::swap(held_, other.held_);
  return *this;
}

Quota::Reservation::~Reservation() {
  if (quota_ == nullptr) return;
  const std::lock_guard lock(quota_->mutex_);
  quota_->reserved_.bytes -= held_.bytes;
  quota_->reserved_.inodes -= held_.inodes;
}

Quota::Usage Quota::room_in(const Limits& limits) {
  constexpr std::uint64_t kPart = 16;
  constexpr Usage kAtLeast{.bytes = 1U << 20, .inodes = 256};
  return {std::max(limits.bytes / kPart, kAtLeast.bytes), std::max(limits.inodes / kPart, kAtLeast.inodes)};
}

Result<Quota::Reservation> Quota::reserve(std::uint64_t bytes, std::uint64_t inodes, Budget budget) {
  const std::lock_guard lock(mutex_);
  const Usage room = budget == Budget::kMakesRoom ? room_in(limits_) : Usage{};
  const Usage most{sum(limits_.bytes, room.bytes), sum(limits_.inodes, room.inodes)};
  if (used_.bytes > most.bytes) return fail(ENOSPC);  // also for what takes no bytes by itself, as a name
  if (bytes > left(most.bytes, used_.bytes + reserved_.bytes)) return fail(ENOSPC);
  if (inodes > left(most.inodes, used_.inodes + reserved_.inodes)) return fail(ENOSPC);
  if (bytes + 1 > until_host_check_bytes_) {
    const std::uint64_t headroom = host_headroom();
    if (bytes >= headroom) return fail(ENOSPC);
    until_host_check_bytes_ = std::min(kHostCheckIntervalBytes + bytes, headroom);
  }
  until_host_check_bytes_ -= bytes;
  reserved_.bytes += bytes;
  reserved_.inodes += inodes;
  return Reservation(this, {bytes, inodes});
}

Quota::Reservation Quota::hold(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  reserved_.bytes += bytes;
  return Reservation(this, {.bytes = bytes, .inodes = 0});
}

void Quota::settle_bytes(std::uint64_t before, std::uint64_t after) {
  const std::lock_guard lock(mutex_);
  used_.bytes = left(used_.bytes + after, before);
}

bool Quota::is_over() const {
  const std::lock_guard lock(mutex_);
  return used_.bytes > limits_.bytes;
}

void Quota::set_usage(Usage used) {
  const std::lock_guard lock(mutex_);
  used_ = used;
}

void Quota::add_inode() {
  const std::lock_guard lock(mutex_);
  ++used_.inodes;
}

void Quota::remove_inode() {
  const std::lock_guard lock(mutex_);
  used_.inodes = left(used_.inodes, 1);
}

void Quota::set_limits(Limits limits) {
  const std::lock_guard lock(mutex_);
  limits_ = limits;
  until_host_check_bytes_ = 0;
}

Quota::Limits Quota::limits() const {
  const std::lock_guard lock(mutex_);
  return limits_;
}

Quota::Usage Quota::usage() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

Quota::Usage Quota::available() const {
  const std::lock_guard lock(mutex_);
  return {std::min(left(limits_.bytes, used_.bytes), host_headroom()), left(limits_.inodes, used_.inodes)};
}

std::uint64_t Quota::host_headroom() const {
  struct statvfs host{};
  if (::fstatvfs(host_fd_, &host) != 0) return std::numeric_limits<std::uint64_t>::max();
  return left(static_cast<std::uint64_t>(host.f_bavail) * host.f_frsize, limits_.host_floor_bytes);
}

}  // namespace layerboot::overlay
