// StreamHash: XXH3 of bytes that come piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "oci-mount/base/result.h"

struct XXH3_state_s;

namespace layerboot::layer {

/// The hash that the index keeps of each span's bytes: that of 64 bits, at once.
[[nodiscard]] std::uint64_t span_hash(std::span<const std::byte> bytes);

/// Of 64 and of 128 bits; how the bytes are cut makes no difference. Not thread-safe.
class StreamHash {
 public:
  struct Wide {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
  };

  /// Of no bytes so far. ENOMEM.
  static Result<StreamHash> create();

  void update(std::span<const std::byte> bytes);
  /// Begins anew.
  void reset();
  /// Of all bytes so far; more may follow.
  [[nodiscard]] std::uint64_t digest() const;
  [[nodiscard]] Wide wide_digest() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  explicit StreamHash(XXH3_state_s* state) : state_(state) {}

  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace layerboot::layer
