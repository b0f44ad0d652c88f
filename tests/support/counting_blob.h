// CountingBlob: a blob in memory that counts what is read of it, and can hold its readers or fail them.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/store/blob.h"

namespace layerboot::test {

class CountingBlob final : public store::Blob {
 public:
  explicit CountingBlob(std::string bytes, std::string name = "blob of the test")
      : bytes_(std::move(bytes)), size_bytes_(bytes_.size()), name_(std::move(name)) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<std::size_t>> read_at(Reactor& reactor, std::uint64_t offset,
                                    std::span<const iovec> into) const override;
  Result<std::size_t> read_blocking(std::uint64_t offset, std::span<std::byte> into) const override;
  [[nodiscard]] const std::string& name() const override { return name_; }

  /// By read_at() only.
  [[nodiscard]] std::uint64_t reads() const { return reads_; }
  [[nodiscard]] std::uint64_t bytes_read() const { return bytes_read_; }
  void reset_counts() {
    reads_ = 0;
    bytes_read_ = 0;
  }

  /// read_at() waits from now on, until release().
  void hold() { held_ = true; }
  void release();
  /// read_at() gives at most this many bytes at once; 0: as many as asked.
  void set_max_read(std::size_t max_bytes) { max_read_bytes_ = max_bytes; }
  /// read_at() fails with this errno; 0: it does not.
  void set_error(int code) { error_ = code; }
  /// What the store holds changes, its size for new readers only. Not while anybody reads.
  std::string& bytes() { return bytes_; }

 private:
  struct Wait;

  std::string bytes_;
  std::uint64_t size_bytes_;
  std::string name_;
  mutable std::atomic<std::uint64_t> reads_{0};
  mutable std::atomic<std::uint64_t> bytes_read_{0};
  std::atomic<bool> held_{false};
  std::atomic<std::size_t> max_read_bytes_{0};
  std::atomic<int> error_{0};
  mutable std::mutex waiting_mutex_;
  mutable std::vector<std::pair<Reactor*, std::coroutine_handle<>>> waiting_;
};

}  // namespace layerboot::test
