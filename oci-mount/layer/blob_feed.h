// How the child that indexes a layer (index_child.h) gets the blob: piece by piece, through memory that it
// can only read, from the program, which hashes the very bytes that it hands on.
//
// So the blob's digest, by which an index is found for every image that calls a layer by it, is the program's
// own finding: neither a child that its layer has taken over nor who changes the blob meanwhile has a say in
// it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "oci-mount/base/child_report.h"
#include "oci-mount/base/mapping.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/layer/blob_pieces.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/digest.h"

namespace layerboot::layer {

inline constexpr std::size_t kFeedPieceBytes = 512U << 10U;
inline constexpr std::size_t kFeedPieces = 4;

/// What the memory begins with. Both are futexes, which the child waits on.
struct FeedHead {
  std::atomic<std::uint32_t> passes;
  std::atomic<std::uint32_t> pieces;  // of this pass, handed out so far
};
/// Where the pieces begin: each lies at its number's place, in turns.
inline constexpr std::size_t kFeedHeadBytes = 4096;
inline constexpr std::size_t kFeedBytes = kFeedHeadBytes + kFeedPieces * kFeedPieceBytes;

/// The program's end. Used by one thread.
class BlobFeeder {
 public:
  /// `digest`: what the blob is to have; none: it isn't hashed. `blob` is lent.
  static Result<std::unique_ptr<BlobFeeder>> create(const store::Blob& blob,
                                                    const std::optional<store::Digest>& digest);
  BlobFeeder(const BlobFeeder&) = delete;
  BlobFeeder& operator=(const BlobFeeder&) = delete;

  /// The memory. Nobody but this object can write it.
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Hands out as much as there is room for. At first; then by heard().
  void feed();
  /// What the child says is done with, which is not believed: 0 begins another pass.
  void heard(std::uint64_t done_bytes);
  /// EBADMSG where the blob could not be read any more, or was another in an earlier pass.
  [[nodiscard]] const Result<void>& state() const { return state_; }
  /// When the child is gone: whether all of the blob, also what it has not asked for, has the digest.
  Result<void> judge();

 private:
  BlobFeeder(const store::Blob& blob, const std::optional<store::Digest>& digest, UniqueFd fd,
             Mapping memory);

  [[nodiscard]] FeedHead& head() const { return *reinterpret_cast<FeedHead*>(memory_.data()); }
  Result<void> begin_pass();
  Result<void> read_piece();

  const store::Blob& blob_;
  std::optional<store::Digest> digest_;
  UniqueFd fd_;
  Mapping memory_;
  std::optional<store::Hasher> hasher_;
  std::uint64_t offset_ = 0;  // of the next piece
  std::uint64_t done_ = 0;
  std::uint32_t pieces_ = 0;
  std::uint32_t passes_ = 1;
  // What an earlier pass had of the blob: what took the child over then must show now.
  std::uint64_t before_bytes_ = 0;
  std::optional<store::Digest> before_;
  Result<void> state_;
};

/// The child's end. What it has got through it tells by `reports`' progress, as fill_index() does.
class FedPieces final : public BlobPieces {
 public:
  /// `fd` is lent for the call.
  static Result<std::unique_ptr<FedPieces>> create(int fd, std::string name, std::uint64_t size_bytes,
                                                   ChildReports reports);

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  Result<std::span<const std::byte>> next() override;
  Result<void> restart() override;

 private:
  FedPieces(Mapping memory, std::string name, std::uint64_t size_bytes, ChildReports reports)
      : memory_(std::move(memory)), name_(std::move(name)), size_bytes_(size_bytes), reports_(reports) {}

  Mapping memory_;
  std::string name_;
  std::uint64_t size_bytes_;
  ChildReports reports_;
  std::uint64_t offset_ = 0;
  std::uint32_t pieces_ = 0;
  std::uint32_t passes_ = 1;
};

}  // namespace layerboot::layer
