#include "oci-mount/layer/digest_pipe.h"

namespace layerboot::layer {

DigestPipe::DigestPipe() : thread_([this] { work(); }) {}

DigestPipe::~DigestPipe() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

DigestPipe::Buffer DigestPipe::acquire() {
  std::unique_lock lock(mutex_);
  if (free_.empty() && made_ < kMaxBuffers) {
    ++made_;
    return std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
  }
  changed_.wait(lock, [this] { return !free_.empty(); });
  Buffer buffer = std::move(free_.back());
  free_.pop_back();
  return buffer;
}

void DigestPipe::submit(store::Hasher& hasher, Buffer buffer, std::size_t size_bytes) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({&hasher, std::move(buffer), size_bytes});
  }
  changed_.notify_all();
}

void DigestPipe::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return jobs_.empty() && !hashing_; });
}

void DigestPipe::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    hashing_ = true;
    lock.unlock();
    job.hasher->update({job.buffer.get(), job.size_bytes});
    lock.lock();
    hashing_ = false;
    free_.push_back(std::move(job.buffer));
    changed_.notify_all();
  }
}

}  // namespace layerboot::layer
