#include "oci-mount/layer/recut_writer.h"

#include <zstd.h>

#include <algorithm>

#include "oci-mount/base/host_room.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/stream_hash.h"

namespace layerboot::layer {

namespace {

/// Decodes at the same speed as the higher ones, and is done in passing.
constexpr int kRecutLevel = 3;

}  // namespace

struct RecutWriter::Encoder {
  struct Free {
    void operator()(ZSTD_CCtx* encoder) const { ::ZSTD_freeCCtx(encoder); }
  };
  std::unique_ptr<ZSTD_CCtx, Free> context{::ZSTD_createCCtx()};
};

RecutWriter::RecutWriter(FileAppender& file) : file_(file), encoder_(std::make_unique<Encoder>()) {}
RecutWriter::~RecutWriter() = default;

Result<std::unique_ptr<RecutWriter>> RecutWriter::create(FileAppender& file) {
  std::unique_ptr<RecutWriter> writer(new RecutWriter(file));
  if (!writer->encoder_->context) return fail(ENOMEM, "no memory for zstd");
  LB_TRY(check_host_room(file.fd()));
  return writer;
}

Result<void> RecutWriter::append(std::span<const std::byte> bytes) {
  if (stream_offset_ + bytes.size() > kMaxStreamBytes)
    return fail(E2BIG, "it gives more than the limit of ", kMaxStreamBytes, " bytes for a layer");
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min<std::size_t>(bytes.size(), kSpanTargetBytes - piece_.size()));
    piece_.insert(piece_.end(), part.begin(), part.end());
    stream_offset_ += part.size();
    bytes = bytes.subspan(part.size());
    if (piece_.size() == kSpanTargetBytes) LB_TRY(write_frame());
  }
  return {};
}

Result<void> RecutWriter::write_frame() {
  LB_TRY(table_.add_zstd(stream_offset_ - piece_.size(), file_.size_bytes()));
  table_.set_span_hash(span_hash(piece_));
  std::vector<std::byte> packed(::ZSTD_compressBound(piece_.size()));
  const std::size_t size = ::ZSTD_compressCCtx(encoder_->context.get(), packed.data(), packed.size(),
                                               piece_.data(), piece_.size(), kRecutLevel);
  if (::ZSTD_isError(size) != 0) return fail(ENOMEM, "zstd: ", ::ZSTD_getErrorName(size));
  piece_.clear();
  if (file_.size_bytes() - room_checked_at_ >= kHostRoomStepBytes) {
    room_checked_at_ = file_.size_bytes();
    LB_TRY(check_host_room(file_.fd()));
  }
  return file_.append(std::span(packed).first(size));
}

Result<void> RecutWriter::finish() {
  if (stream_offset_ == 0) return {};
  if (!piece_.empty()) LB_TRY(write_frame());
  return table_.add_zstd(stream_offset_, file_.size_bytes());
}

}  // namespace layerboot::layer
