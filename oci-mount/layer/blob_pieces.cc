#include "oci-mount/layer/blob_pieces.h"

#include <algorithm>
#include <utility>

namespace layerboot::layer {

Result<void> read_whole(const store::Blob& blob, std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    LB_ASSIGN(const std::size_t got, blob.read_blocking(offset, into));
    if (got == 0)
      return fail(EBADMSG, blob.name(), " became shorter while it was read; fetch the image again");
    into = into.subspan(got);
    offset += got;
  }
  return {};
}

Result<void> check_blob_digest(const std::string& name, const store::Digest& found,
                               const store::Digest& expected) {
  if (found == expected) return {};
  return fail(EBADMSG, name, " is damaged: its bytes hash to ", found.text(), "; fetch the image again");
}

Result<std::unique_ptr<HashedPieces>> HashedPieces::create(const store::Blob& blob,
                                                           const std::optional<store::Digest>& digest,
                                                           SideThread& side) {
  std::unique_ptr<HashedPieces> pieces(new HashedPieces(blob, digest, side));
  LB_TRY(pieces->restart());
  return pieces;
}

void HashedPieces::let_go() {
  if (piece_ && hasher_) pipe_.submit(*hasher_, std::exchange(piece_, nullptr), piece_bytes_);
}

Result<std::span<const std::byte>> HashedPieces::next() {
  let_go();
  if (!piece_) piece_ = pipe_.acquire();
  piece_bytes_ = static_cast<std::size_t>(
      std::min<std::uint64_t>(DigestPipe::kBufferBytes, blob_.size_bytes() - offset_));
  const std::span piece(piece_.get(), piece_bytes_);
  LB_TRY(read_whole(blob_, offset_, piece));
  offset_ += piece_bytes_;
  return piece;
}

Result<void> HashedPieces::restart() {
  side_.drain();
  offset_ = 0;
  piece_bytes_ = 0;
  if (digest_) {
    LB_ASSIGN(hasher_, store::Hasher::create(digest_->algorithm()));
  }
  return {};
}

Result<void> HashedPieces::judge() {
  if (!digest_) return {};
  for (;;) {
    LB_ASSIGN(const auto piece, next());
    if (piece.empty()) break;
  }
  side_.drain();
  return check_blob_digest(name(), hasher_->finish(), *digest_);
}

}  // namespace layerboot::layer
