// Mapping: a file mapped read-only, a memory file mapped shared, or memory of our own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "oci-mount/base/result.h"

namespace layerboot {

/// Owns one mmap. Movable; unmaps on destruction. What it maps must not be truncated by others:
/// index files are ours and write-once, guest memory is sealed by its owner or SIGBUS is the VM's end.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  /// Maps the whole of `fd` read-only. The descriptor may be closed afterwards.
  static Result<Mapping> read_only(int fd);

  /// Maps `size_bytes` at `offset` of `fd` readable, writable and shared, kept out of core dumps
  /// and of forked children (it is a guest's memory).
  static Result<Mapping> shared(int fd, std::uint64_t offset, std::size_t size_bytes);

  /// Maps `size_bytes` of zeroes of our own, in huge pages where the kernel has them. Takes memory as it is
  /// used.
  static Result<Mapping> anonymous(std::size_t size_bytes);

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size_bytes() const { return size_bytes_; }

 private:
  Mapping(std::byte* data, std::size_t size_bytes) : data_(data), size_bytes_(size_bytes) {}

  std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace layerboot
