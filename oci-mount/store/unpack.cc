#include "oci-mount/store/unpack.h"

#include <unistd.h>

#include <algorithm>
#include <span>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/host_room.h"
#include "oci-mount/store/stream_decoder.h"
#include "oci-mount/store/tar_header.h"
#include "oci-mount/store/unpacked_archive.h"

namespace layerboot::store {

namespace {

constexpr std::size_t kPieceBytes = 256U << 10U;

/// Writes what is unpacked; leaves out pieces of zeroes, which become holes.
class SparseWriter {
 public:
  explicit SparseWriter(int fd) : fd_(fd), buffer_(kPieceBytes) {}

  std::span<std::byte> room() { return std::span(buffer_).subspan(filled_); }
  Result<void> take(std::size_t size_bytes) {
    filled_ += size_bytes;
    return filled_ == buffer_.size() ? flush() : Result<void>();
  }
  Result<void> finish() {
    LB_TRY(flush());
    if (::ftruncate(fd_, static_cast<off_t>(offset_)) != 0) return errno_error("ftruncate");
    return {};
  }

 private:
  Result<void> flush() {
    const auto piece = std::span(buffer_).first(filled_);
    if (offset_ == 0 && piece.size() >= kTarBlockBytes) LB_TRY(check_first_block(piece));
    if (offset_ + piece.size() > kMaxUnpackedBytes)
      return fail(E2BIG, "it unpacks to more than the limit of ", kMaxUnpackedBytes, " bytes");
    const bool zeroes = std::ranges::all_of(piece, [](std::byte byte) { return byte == std::byte{0}; });
    if (!zeroes) LB_TRY(write(piece));
    offset_ += piece.size();
    filled_ = 0;
    return {};
  }
  Result<void> write(std::span<const std::byte> piece) {
    if (unchecked_bytes_ >= kHostRoomStepBytes) {
      unchecked_bytes_ = 0;
      LB_TRY(check_host_room(fd_));
    }
    unchecked_bytes_ += piece.size();
    return write_all(fd_, piece, offset_);
  }
  /// What is no tar shows before it has filled the disk.
  static Result<void> check_first_block(std::span<const std::byte> piece) {
    const TarBlock block = piece.first<kTarBlockBytes>();
    if (is_zero_block(block)) return {};
    if (const auto header = parse_tar_header(block); !header)
      return while_doing(header.error(), "it unpacks to no tar");
    return {};
  }

  int fd_;
  std::vector<std::byte> buffer_;
  std::size_t filled_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t unchecked_bytes_ = 0;  // written since the last look at how much room there is
};

}  // namespace

Result<void> unpack_stream(const FileBlob& archive, Compression compression, int fd,
                           const std::function<Result<void>(std::uint64_t)>& on_progress) {
  LB_ASSIGN(const auto decoder, StreamDecoder::create(compression));
  LB_TRY(check_host_room(fd));
  SparseWriter writer(fd);
  std::vector<std::byte> buffer(kPieceBytes);
  for (std::uint64_t offset = 0; offset < archive.size_bytes();) {
    LB_ASSIGN(const std::size_t got, archive.read_blocking(offset, buffer));
    if (got == 0) return fail(EBADMSG, "it became shorter while it was read");
    LB_TRY(decoder->decode_all(
        std::span(buffer).first(got), [&] { return writer.room(); },
        [&](std::size_t size_bytes) { return writer.take(size_bytes); }));
    offset += got;
    LB_TRY(on_progress(offset));
  }
  LB_TRY(decoder->finish());
  return writer.finish();
}

}  // namespace layerboot::store
