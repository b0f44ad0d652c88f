// Buffer: memory for a while, which the host has back at once where it is much.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>

#include "oci-mount/base/mapping.h"

namespace layerboot {

/// Its bytes hold anything at first. Movable.
class Buffer {
 public:
  /// More than this is mapped: the allocator would keep it, once it has seen a few that large.
  static constexpr std::size_t kMaxHeapBytes = 1U << 20U;

  Buffer() = default;
  /// Like `new`: std::bad_alloc where the host has no memory.
  explicit Buffer(std::size_t size_bytes) : size_bytes_(size_bytes) {
    if (size_bytes <= kMaxHeapBytes) {
      heap_ = std::make_unique_for_overwrite<std::byte[]>(size_bytes);
      return;
    }
    auto mapped = Mapping::anonymous(size_bytes);
    if (!mapped) throw std::bad_alloc();
    mapping_ = std::move(*mapped);
  }

  explicit operator bool() const { return data() != nullptr; }
  [[nodiscard]] std::byte* data() const { return heap_ ? heap_.get() : mapping_.data(); }
  [[nodiscard]] std::span<std::byte> bytes() const { return {data(), size_bytes_}; }

 private:
  std::unique_ptr<std::byte[]> heap_;
  Mapping mapping_;
  std::size_t size_bytes_ = 0;
};

}  // namespace layerboot
