// A gzip member's header, pushed through byte by byte (RFC 1952, 2.3). Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "oci-mount/base/result.h"

namespace layerboot::layer {

inline constexpr std::byte kGzipMagic1{0x1f};
inline constexpr std::byte kGzipMagic2{0x8b};

/// Reads what comes after the two magic bytes, up to the first deflate block. Keeps none of it.
class GzipHeaderParser {
 public:
  void reset() { *this = GzipHeaderParser(); }
  /// How many bytes belong to the header; done() says whether it is whole. EBADMSG for an unknown method or
  /// flag, EINVAL for a header over kMaxGzipHeaderBytes.
  Result<std::size_t> push(std::span<const std::byte> bytes);
  [[nodiscard]] bool done() const { return part_ == Part::kDone; }

 private:
  enum class Part { kFixed, kExtraLength, kExtra, kName, kComment, kHeaderCrc, kDone };

  Result<void> push_byte(unsigned byte);
  void next_part();

  Part part_ = Part::kFixed;
  unsigned flags_ = 0;
  std::size_t in_part_ = 0;  // bytes of this part so far
  std::size_t extra_bytes_ = 0;
  std::size_t total_ = 0;
};

}  // namespace layerboot::layer
