#include "oci-mount/layer/zstd_scanner.h"

#include <zstd.h>
#include <zstd_errors.h>

#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

struct FreeDecoder {
  void operator()(ZSTD_DCtx* decoder) const { ::ZSTD_freeDCtx(decoder); }
};

}  // namespace

struct ZstdScanner::Contexts {
  std::unique_ptr<ZSTD_DCtx, FreeDecoder> decoder{::ZSTD_createDCtx()};
};

ZstdScanner::ZstdScanner(StreamSink& sink, StreamHash span_hash)
    : sink_(sink), contexts_(std::make_unique<Contexts>()), span_hash_(std::move(span_hash)) {}
ZstdScanner::~ZstdScanner() = default;

Result<std::unique_ptr<ZstdScanner>> ZstdScanner::create(StreamSink& sink, FileAppender* recut) {
  LB_ASSIGN(StreamHash span_hash, StreamHash::create());
  std::unique_ptr<ZstdScanner> scanner(new ZstdScanner(sink, std::move(span_hash)));
  const Contexts& contexts = *scanner->contexts_;
  if (!contexts.decoder) return fail(ENOMEM, "no memory for zstd");
  ::ZSTD_DCtx_setParameter(contexts.decoder.get(), ZSTD_d_windowLogMax, kMaxZstdWindowLog);
  if (recut != nullptr) {
    LB_ASSIGN(scanner->recut_, RecutWriter::create(*recut));
  }
  return scanner;
}

Result<void> ZstdScanner::push(std::span<const std::byte> blob_bytes) {
  ZSTD_inBuffer in{blob_bytes.data(), blob_bytes.size(), 0};
  for (bool more = true; more;) {
    if (in.pos == in.size && !in_frame_) return {};
    if (!in_frame_) {
      in_frame_ = true;
      frame_offset_ = blob_offset_;
      frame_stream_ = stream_offset_;
    }
    const auto room = sink_.room();
    ZSTD_outBuffer out{room.data(), room.size(), 0};
    const std::size_t before = in.pos;
    const std::size_t left = ::ZSTD_decompressStream(contexts_->decoder.get(), &out, &in);
    if (::ZSTD_isError(left) != 0) {
      if (::ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge) {
        return fail(EBADMSG, "its zstd data at byte ", blob_offset_, " need a window over the limit of 2^",
                    kMaxZstdWindowLog, " bytes; compress the layer without --long or --ultra");
      }
      return fail(EBADMSG, "its zstd data can't be decoded in the frame that begins at byte ", frame_offset_,
                  ": ", ::ZSTD_getErrorName(left));
    }
    blob_offset_ += in.pos - before;
    if (out.pos != 0) LB_TRY(take_output(room.first(out.pos)));
    if (left == 0) {
      in_frame_ = false;
      if (stream_offset_ != frame_stream_) data_end_ = blob_offset_;
    }
    // With room left, all that the input gives has been given.
    more = in.pos < in.size || out.pos == room.size();
  }
  return {};
}

Result<void> ZstdScanner::take_output(std::span<const std::byte> bytes) {
  if (recut_) {
    LB_TRY(recut_->append(bytes));  // within the limit of kMaxStreamBytes, too
    stream_offset_ += bytes.size();
  } else {
    if (stream_offset_ + bytes.size() > kMaxStreamBytes)
      return fail(E2BIG, "it gives more than the limit of ", kMaxStreamBytes, " bytes for a layer");
    const bool at_frame = stream_offset_ == frame_stream_;
    if (at_frame && (!span_open_ || stream_offset_ - span_stream_ >= kSpanTargetBytes))
      LB_TRY(begin_span(frame_offset_));
    span_hash_.update(bytes);
    stream_offset_ += bytes.size();
    if (stream_offset_ - frame_stream_ > kMaxZstdFrameBytes)
      return fail(EFBIG, "it has a zstd frame over ", kMaxZstdFrameBytes, " bytes");
  }
  return sink_.take(bytes.size());
}

Result<void> ZstdScanner::begin_span(std::uint64_t offset) {
  close_span();
  span_open_ = true;
  span_stream_ = stream_offset_;
  return table_.add_zstd(stream_offset_, offset);
}

void ZstdScanner::close_span() {
  if (span_open_) table_.set_span_hash(span_hash_.digest());
  span_hash_.reset();
}

Result<void> ZstdScanner::finish() {
  if (in_frame_) return fail(EBADMSG, "its zstd data end within a frame");
  if (recut_) return recut_->finish();
  if (stream_offset_ == 0) return {};
  close_span();
  return table_.add_zstd(stream_offset_, data_end_);
}

Result<void> decode_zstd_span(const SpanInfo& span, std::span<const std::byte> compressed,
                              std::span<std::byte> out) {
  // One decoder a thread: its state is made once.
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeDecoder> decoder{::ZSTD_createDCtx()};
  if (!decoder) return fail(ENOMEM, "no memory for zstd");
  const std::size_t size =
      ::ZSTD_decompressDCtx(decoder.get(), out.data(), out.size(), compressed.data(), compressed.size());
  if (::ZSTD_isError(size) != 0) {
    return fail(EIO, "the data from byte ", span.blob_offset,
                " on can't be decoded: ", ::ZSTD_getErrorName(size));
  }
  return check_span(span, out.first(size));
}

}  // namespace layerboot::layer
