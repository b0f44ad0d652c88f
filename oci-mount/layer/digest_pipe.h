// DigestPipe: buffers hashed on a side thread, while the next ones are being filled.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "oci-mount/layer/side_thread.h"
#include "oci-mount/store/digest.h"

namespace layerboot::layer {

/// Used by one thread, beside the side thread.
class DigestPipe {
 public:
  static constexpr std::size_t kBufferBytes = 1U << 20U;
  /// Buffers in use at most; acquire() waits for one.
  static constexpr std::size_t kMaxBuffers = 8;

  using Buffer = std::unique_ptr<std::byte[]>;

  /// `side` goes before the pipe does, or is drained.
  explicit DigestPipe(SideThread& side) : side_(side) {}
  DigestPipe(const DigestPipe&) = delete;
  DigestPipe& operator=(const DigestPipe&) = delete;

  /// A buffer of kBufferBytes, from submit()'s used ones.
  Buffer acquire();
  /// Pushes the buffer's first `size_bytes` bytes into `hasher`, in the order of the calls. `hasher` is the
  /// side thread's until that is drained. The buffer comes back through acquire().
  void submit(store::Hasher& hasher, Buffer buffer, std::size_t size_bytes);

 private:
  void give_back(Buffer buffer);

  SideThread& side_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<Buffer> free_;
  std::size_t made_ = 0;
};

}  // namespace layerboot::layer
