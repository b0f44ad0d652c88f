#include "tests/support/counting_blob.h"

#include <algorithm>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/io_slices.h"

namespace layerboot::test {

struct CountingBlob::Wait {
  const CountingBlob& blob;
  Reactor& reactor;

  bool await_ready() const noexcept { return !blob.held_; }
  bool await_suspend(std::coroutine_handle<> awaiter) {
    const std::lock_guard lock(blob.waiting_mutex_);
    if (!blob.held_) return false;
    blob.waiting_.emplace_back(&reactor, awaiter);
    return true;
  }
  void await_resume() const noexcept {}
};

void CountingBlob::release() {
  std::vector<std::pair<Reactor*, std::coroutine_handle<>>> waiting;
  {
    const std::lock_guard lock(waiting_mutex_);
    held_ = false;
    waiting.swap(waiting_);
  }
  for (auto& [reactor, handle] : waiting) {
    reactor->post([resumed = handle] { resumed.resume(); });
  }
}

Task<Result<std::size_t>> CountingBlob::read_at(Reactor& reactor, std::uint64_t offset,
                                                std::span<const iovec> into) const {
  ++reads_;
  co_await Wait{*this, reactor};
  if (const int code = error_; code != 0) co_return fail(code);
  std::size_t size = offset < bytes_.size() ? bytes_.size() - static_cast<std::size_t>(offset) : 0;
  if (const std::size_t limit = max_read_bytes_; limit != 0) size = std::min(size, limit);
  std::size_t copied = 0;
  if (size != 0)
    copied = copy_into_slices(into, 0, as_bytes(bytes_).subspan(static_cast<std::size_t>(offset), size));
  bytes_read_ += copied;
  co_return copied;
}

Result<std::size_t> CountingBlob::read_blocking(std::uint64_t offset, std::span<std::byte> into) const {
  if (offset >= bytes_.size()) return std::size_t{0};
  const auto rest = as_bytes(bytes_).subspan(static_cast<std::size_t>(offset));
  const auto size = std::min(rest.size(), into.size());
  std::copy_n(rest.begin(), size, into.begin());
  return size;
}

}  // namespace layerboot::test
