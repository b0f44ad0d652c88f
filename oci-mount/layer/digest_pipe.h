// DigestPipe: hashes buffers on a thread of its own, while the next ones are being filled.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "oci-mount/store/digest.h"

namespace layerboot::layer {

/// Used by one thread, beside its own.
class DigestPipe {
 public:
  static constexpr std::size_t kBufferBytes = 1U << 20U;
  /// Buffers in use at most; acquire() waits for one.
  static constexpr std::size_t kMaxBuffers = 8;

  using Buffer = std::unique_ptr<std::byte[]>;

  DigestPipe();
  /// Drops what is not hashed yet.
  ~DigestPipe();
  DigestPipe(const DigestPipe&) = delete;
  DigestPipe& operator=(const DigestPipe&) = delete;

  /// A buffer of kBufferBytes, from submit()'s used ones.
  Buffer acquire();
  /// Pushes the buffer's first `size_bytes` bytes into `hasher`, in the order of the calls. `hasher` is the pipe's
  /// until drain(). The buffer comes back through acquire().
  void submit(store::Hasher& hasher, Buffer buffer, std::size_t size_bytes);
  /// Waits until all is hashed.
  void drain();

 private:
  struct Job {
    store::Hasher* hasher;
    Buffer buffer;
    std::size_t size_bytes;
  };
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::vector<Buffer> free_;
  std::size_t made_ = 0;
  bool hashing_ = false;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace layerboot::layer
