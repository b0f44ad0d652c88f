// Digest: the name of a blob, and the streaming hasher that computes one.
//
// Follows the OCI image spec, descriptor.md "Digests". Only sha256 and sha512 in lower-case hex are
// taken: a digest becomes part of a path, so nothing else may ever pass for one (CVE-2024-3727).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::store {

enum class HashAlgorithm : std::uint8_t { kSha256 = 1, kSha512 = 2 };

class Digest {
 public:
  static constexpr std::size_t kMaxBytes = 64;

  /// The sha256 of all zeroes, which no blob has.
  Digest() = default;
  /// "sha256:" + 64 or "sha512:" + 128 lower-case hex digits; anything else is EINVAL.
  static Result<Digest> parse(std::string_view text);
  /// From stored bytes; `bytes` must be as long as the algorithm's digest.
  static Result<Digest> from_bytes(HashAlgorithm algorithm, std::span<const std::byte> bytes);

  [[nodiscard]] HashAlgorithm algorithm() const { return algorithm_; }
  [[nodiscard]] std::span<const std::byte> bytes() const;
  [[nodiscard]] std::string_view algorithm_name() const;
  [[nodiscard]] std::string hex() const;
  /// "sha256:…"
  [[nodiscard]] std::string text() const;
  /// "sha256-…": safe as a file name.
  [[nodiscard]] std::string file_name() const;

  friend bool operator==(const Digest&, const Digest&) = default;

 private:
  HashAlgorithm algorithm_ = HashAlgorithm::kSha256;
  std::array<std::byte, kMaxBytes> bytes_{};
};

/// Hashes what is pushed. Movable, used by one thread at a time.
class Hasher {
 public:
  static Result<Hasher> create(HashAlgorithm algorithm);

  void update(std::span<const std::byte> bytes);
  /// Of what was pushed until now.
  [[nodiscard]] Digest so_far() const;
  /// Call once, last.
  [[nodiscard]] Digest finish();

 private:
  struct FreeContext {
    void operator()(void* context) const;
  };
  Hasher(HashAlgorithm algorithm, void* context) : algorithm_(algorithm), context_(context) {}

  HashAlgorithm algorithm_;
  std::unique_ptr<void, FreeContext> context_;
};

/// The digest of bytes at hand.
Result<Digest> digest_of(HashAlgorithm algorithm, std::span<const std::byte> bytes);

}  // namespace layerboot::store
