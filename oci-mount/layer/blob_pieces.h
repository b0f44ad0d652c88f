// BlobPieces: what a layer's index is built of, its blob piece by piece, and nothing but that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/digest_pipe.h"
#include "oci-mount/layer/side_thread.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/digest.h"

namespace layerboot::layer {

/// From the blob's beginning to its end, once a pass. Used by one thread.
class BlobPieces {
 public:
  virtual ~BlobPieces() = default;

  [[nodiscard]] virtual const std::string& name() const = 0;
  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  /// The next piece, which stays until the next call; empty at the end. The first has all that a magic takes.
  virtual Result<std::span<const std::byte>> next() = 0;
  /// Begins another pass.
  virtual Result<void> restart() = 0;
};

/// Fills `into`, which ends within the blob, from `offset` on. EBADMSG where the blob became shorter.
Result<void> read_whole(const store::Blob& blob, std::uint64_t offset, std::span<std::byte> into);

/// EBADMSG: what is said of a blob that hashes to `found`, unless that is what it is to have.
Result<void> check_blob_digest(const std::string& name, const store::Digest& found,
                               const store::Digest& expected);

/// A blob that is read here, and hashed by the side thread meanwhile.
class HashedPieces final : public BlobPieces {
 public:
  /// `digest`: what the blob is to have; none: it isn't hashed. `blob` and `side` are lent.
  static Result<std::unique_ptr<HashedPieces>> create(const store::Blob& blob,
                                                      const std::optional<store::Digest>& digest,
                                                      SideThread& side);
  ~HashedPieces() override { side_.drain(); }

  [[nodiscard]] const std::string& name() const override { return blob_.name(); }
  [[nodiscard]] std::uint64_t size_bytes() const override { return blob_.size_bytes(); }
  Result<std::span<const std::byte>> next() override;
  Result<void> restart() override;
  /// After the last pass: whether all of it, also what was not asked for, has the digest.
  Result<void> judge();

 private:
  HashedPieces(const store::Blob& blob, const std::optional<store::Digest>& digest, SideThread& side)
      : blob_(blob), digest_(digest), side_(side) {}

  void let_go();

  const store::Blob& blob_;
  std::optional<store::Digest> digest_;
  SideThread& side_;
  DigestPipe pipe_{side_};
  std::optional<store::Hasher> hasher_;
  DigestPipe::Buffer piece_;
  std::size_t piece_bytes_ = 0;
  std::uint64_t offset_ = 0;
};

}  // namespace layerboot::layer
