#include "oci-mount/layer/digest_pipe.h"

#include <utility>

namespace layerboot::layer {

DigestPipe::Buffer DigestPipe::acquire() {
  std::unique_lock lock(mutex_);
  if (free_.empty() && made_ < kMaxBuffers) {
    ++made_;
    return std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
  }
  given_back_.wait(lock, [this] { return !free_.empty(); });
  Buffer buffer = std::move(free_.back());
  free_.pop_back();
  return buffer;
}

void DigestPipe::submit(store::Hasher& hasher, Buffer buffer, std::size_t size_bytes) {
  // Shared only because std::function copies what it holds.
  auto held = std::make_shared<Buffer>(std::move(buffer));
  side_.submit([this, &hasher, held, size_bytes] {
    hasher.update({held->get(), size_bytes});
    give_back(std::move(*held));
  });
}

void DigestPipe::give_back(Buffer buffer) {
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(buffer));
  }
  given_back_.notify_one();
}

}  // namespace layerboot::layer
