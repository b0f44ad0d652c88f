// TextArena: many short texts, each found again by four bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace layerboot::layer {

/// Texts are only added, and stay where they are. Not thread-safe.
class TextArena {
 public:
  static constexpr std::size_t kChunkBytes = 64U << 10U;
  /// What a text's place can tell.
  static constexpr std::uint64_t kMaxBytes = 1ULL << 32U;

  /// The text's place, for at(). REQUIRES: it has no more than kChunkBytes bytes, and all of them together
  /// less than 15/16 of kMaxBytes.
  std::uint32_t add(std::string_view text);
  /// The view lives as long as the arena. REQUIRES: a text with as many bytes, or more, was added there.
  [[nodiscard]] std::string_view at(std::uint32_t place, std::size_t size_bytes) const {
    if (size_bytes == 0) return {};
    return {chunks_[place / kChunkBytes].get() + place % kChunkBytes, size_bytes};
  }

 private:
  std::vector<std::unique_ptr<char[]>> chunks_;
  std::size_t used_ = kChunkBytes;  // of the last one
};

}  // namespace layerboot::layer
