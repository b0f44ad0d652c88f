// CheckedSpans: which spans of a plain tar have been found to be what was indexed.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

/// A bit for each span, 32 KiB for the largest layer. Thread-safe.
class CheckedSpans {
 public:
  /// None are known of `span_count` spans; of 0 there is nothing to check.
  explicit CheckedSpans(std::uint32_t span_count) : words_((span_count + kBits - 1) / kBits) {}

  /// The first span of those that hold [begin, end) which has not been checked; the count of all that come
  /// before `end` where there is none. REQUIRES: the range is not empty and within the tar.
  [[nodiscard]] std::uint32_t first_unchecked(std::uint64_t begin, std::uint64_t end) const {
    const auto after = static_cast<std::uint32_t>((end - 1) / kPlainSpanBytes + 1);
    if (words_.empty()) return after;
    auto span = static_cast<std::uint32_t>(begin / kPlainSpanBytes);
    while (span < after && is_checked(span)) ++span;
    return span;
  }
  [[nodiscard]] bool are_checked(std::uint64_t begin, std::uint64_t end) const {
    return begin == end || first_unchecked(begin, end) > (end - 1) / kPlainSpanBytes;
  }
  void set_checked(std::uint32_t span) {
    words_[span / kBits].fetch_or(std::uint64_t{1} << (span % kBits), std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint32_t kBits = 64;
  [[nodiscard]] bool is_checked(std::uint32_t span) const {
    return (words_[span / kBits].load(std::memory_order_relaxed) >> (span % kBits) & 1) != 0;
  }

  std::vector<std::atomic<std::uint64_t>> words_;
};

}  // namespace layerboot::layer
