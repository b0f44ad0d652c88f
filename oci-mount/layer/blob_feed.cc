#include "oci-mount/layer/blob_feed.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>

namespace layerboot::layer {

namespace {

static_assert(sizeof(FeedHead) <= kFeedHeadBytes && std::atomic<std::uint32_t>::is_always_lock_free);

/// A layer is recut once, and its checkpoints are set further apart a few times (fill_index()).
constexpr std::uint32_t kMaxPasses = 8;

/// Between processes, which std::atomic's own waiting is not.
void wait_while(const std::atomic<std::uint32_t>& word, std::uint32_t value) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT, value, nullptr, nullptr, 0);
}
void wake(const std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

std::size_t place_of(std::uint32_t piece) { return kFeedHeadBytes + piece % kFeedPieces * kFeedPieceBytes; }

}  // namespace

BlobFeeder::BlobFeeder(const store::Blob& blob, const std::optional<store::Digest>& digest, UniqueFd fd,
                       Mapping memory)
    : blob_(blob), digest_(digest), fd_(std::move(fd)), memory_(std::move(memory)) {
  new (memory_.data()) FeedHead{.passes = passes_, .pieces = 0};
}

Result<std::unique_ptr<BlobFeeder>> BlobFeeder::create(const store::Blob& blob,
                                                       const std::optional<store::Digest>& digest) {
  UniqueFd fd(::memfd_create("layerboot-blob", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return errno_error("memfd_create");
  if (::ftruncate(fd.get(), kFeedBytes) != 0) return errno_error("ftruncate of a memfd");
  LB_ASSIGN(Mapping memory, Mapping::shared(fd.get(), 0, kFeedBytes));
  // What is mapped by now may write it, and nothing else ever.
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return errno_error("F_ADD_SEALS");
  std::unique_ptr<BlobFeeder> feeder(new BlobFeeder(blob, digest, std::move(fd), std::move(memory)));
  if (digest) {
    LB_ASSIGN(feeder->hasher_, store::Hasher::create(digest->algorithm()));
  }
  return feeder;
}

Result<void> BlobFeeder::read_piece() {
  const auto wanted =
      static_cast<std::size_t>(std::min<std::uint64_t>(kFeedPieceBytes, blob_.size_bytes() - offset_));
  const std::span piece(memory_.data() + place_of(pieces_), wanted);
  LB_TRY(read_whole(blob_, offset_, piece));
  if (hasher_) hasher_->update(piece);
  offset_ += wanted;
  ++pieces_;
  if (!before_ || offset_ != before_bytes_) return {};
  if (hasher_->so_far() != *before_)
    return fail(EBADMSG, blob_.name(), " changed while it was read; fetch the image again");
  return {};
}

void BlobFeeder::feed() {
  constexpr std::uint64_t kMostAhead = (kFeedPieces - 1) * kFeedPieceBytes;
  while (state_ && offset_ < blob_.size_bytes() && offset_ - done_ <= kMostAhead) {
    state_ = read_piece();
    if (!state_) return;
    head().pieces.store(pieces_, std::memory_order_release);
    wake(head().pieces);
  }
}

Result<void> BlobFeeder::begin_pass() {
  if (offset_ < before_bytes_ || passes_ == kMaxPasses)
    return fail(EIO, blob_.name(),
                " could not be indexed: the process that reads it begins again and again; ",
                "the layer may be an attack");
  if (digest_) {
    before_ = hasher_->finish();
    LB_ASSIGN(hasher_, store::Hasher::create(digest_->algorithm()));
  }
  before_bytes_ = offset_;
  offset_ = done_ = 0;
  pieces_ = 0;
  head().pieces.store(0, std::memory_order_relaxed);
  head().passes.store(++passes_, std::memory_order_release);
  wake(head().passes);
  return {};
}

void BlobFeeder::heard(std::uint64_t done_bytes) {
  if (!state_) return;
  if (done_bytes == 0) {
    state_ = begin_pass();
  } else {
    done_ = std::clamp(done_bytes, done_, offset_);
  }
  feed();
}

Result<void> BlobFeeder::judge() {
  while (state_ && digest_ && offset_ < blob_.size_bytes()) state_ = read_piece();
  LB_TRY(state_);
  return digest_ ? check_blob_digest(blob_.name(), hasher_->finish(), *digest_) : Result<void>();
}

Result<std::unique_ptr<FedPieces>> FedPieces::create(int fd, std::string name, std::uint64_t size_bytes,
                                                     ChildReports reports) {
  LB_ASSIGN(Mapping memory, Mapping::read_only(fd));
  if (memory.size_bytes() != kFeedBytes) return fail(EINVAL, "it is for the program itself to start");
  return std::unique_ptr<FedPieces>(new FedPieces(std::move(memory), std::move(name), size_bytes, reports));
}

Result<std::span<const std::byte>> FedPieces::next() {
  const auto& head = *reinterpret_cast<const FeedHead*>(memory_.data());
  const auto wanted =
      static_cast<std::size_t>(std::min<std::uint64_t>(kFeedPieceBytes, size_bytes_ - offset_));
  if (wanted == 0) return std::span<const std::byte>();
  while (head.pieces.load(std::memory_order_acquire) == pieces_) wait_while(head.pieces, pieces_);
  const auto piece = memory_.bytes().subspan(place_of(pieces_), wanted);
  ++pieces_;
  offset_ += wanted;
  return piece;
}

Result<void> FedPieces::restart() {
  const auto& head = *reinterpret_cast<const FeedHead*>(memory_.data());
  offset_ = 0;
  pieces_ = 0;
  reports_.progress(0);
  while (head.passes.load(std::memory_order_acquire) == passes_) wait_while(head.passes, passes_);
  ++passes_;
  return {};
}

}  // namespace layerboot::layer
