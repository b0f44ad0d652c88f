#include "oci-mount/layer/gzip_codec.h"

#include <xxhash.h>

#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

struct GzipScanner::HashState {
  XXH3_state_t* state = ::XXH3_createState();
  HashState() = default;
  HashState(const HashState&) = delete;
  HashState& operator=(const HashState&) = delete;
  ~HashState() { ::XXH3_freeState(state); }
};

GzipScanner::GzipScanner(StreamSink& sink) : sink_(sink), span_hash_(std::make_unique<HashState>()) {}
GzipScanner::~GzipScanner() = default;

Result<std::unique_ptr<GzipScanner>> GzipScanner::create(StreamSink& sink) {
  std::unique_ptr<GzipScanner> scanner(new GzipScanner(sink));
  if (scanner->span_hash_->state == nullptr) return fail(ENOMEM, "no memory for a hash");
  LB_ASSIGN(scanner->stream_, GzipStream::create());
  LB_TRY(scanner->stream_->start_at_member(0));
  return scanner;
}

Result<void> GzipScanner::push(std::span<const std::byte> blob_bytes) {
  while (!trailing_) {
    const auto room = sink_.room();
    LB_ASSIGN(const auto step, stream_->step(blob_bytes, room));
    blob_bytes = blob_bytes.subspan(step.consumed);
    if (step.produced != 0) LB_TRY(take_output(room.first(step.produced)));
    if (step.stop == GzipStream::Stop::kBoundary) LB_TRY(at_boundary());
    if (step.stop == GzipStream::Stop::kTrailing) trailing_ = true;
    const bool room_was_full = step.produced == room.size();
    if (step.stop == GzipStream::Stop::kMore && !room_was_full) return {};
  }
  return {};
}

Result<void> GzipScanner::take_output(std::span<const std::byte> bytes) {
  ::XXH3_64bits_update(span_hash_->state, bytes.data(), bytes.size());
  stream_offset_ += bytes.size();
  if (stream_offset_ > kMaxStreamBytes) {
    return fail(E2BIG, "it gives more than the limit of ", kMaxStreamBytes, " bytes for a layer");
  }
  if (stream_offset_ - last_checkpoint_ > kMaxSpanBytes) {
    return fail(ENOTSUP, "it has a deflate block over the limit of ", kMaxSpanBytes,
                " bytes: compress the layer with another tool");
  }
  return sink_.take(bytes.size());
}

Result<void> GzipScanner::at_boundary() {
  const auto& boundary = stream_->boundary();
  const bool first = checkpoints_.records().empty();
  if (!first && stream_offset_ - last_checkpoint_ < kSpanTargetBytes) return {};
  if (boundary.member_start) return set_checkpoint(boundary, {});
  Window window;
  if (stream_->copy_window(window) == 0) return set_checkpoint(boundary, {});
  LB_ASSIGN(const auto packed, pack_window(window));
  return set_checkpoint(boundary, packed);
}

Result<void> GzipScanner::set_checkpoint(const GzipStream::Boundary& boundary, std::span<const std::byte> packed_window) {
  if (!checkpoints_.records().empty()) checkpoints_.set_span_hash(::XXH3_64bits_digest(span_hash_->state));
  ::XXH3_64bits_reset(span_hash_->state);
  last_checkpoint_ = stream_offset_;
  return checkpoints_.add(stream_offset_, boundary.blob_bit_offset, boundary.member_start, packed_window);
}

Result<void> GzipScanner::finish() {
  LB_TRY(stream_->finish());
  if (stream_offset_ == 0) {
    checkpoints_ = {};
    return {};
  }
  if (stream_offset_ == last_checkpoint_) {
    checkpoints_.close_at_last(stream_->end_offset() * 8);
    return {};
  }
  return set_checkpoint({stream_->end_offset() * 8, false}, {});
}

std::uint64_t span_hash(std::span<const std::byte> bytes) { return ::XXH3_64bits(bytes.data(), bytes.size()); }

Result<void> decode_gzip_span(const SpanInfo& span, std::span<const std::byte> compressed, std::span<std::byte> out) {
  // One decoder a thread: its 40 KiB are made once.
  thread_local std::unique_ptr<GzipStream> stream;
  if (!stream) {
    LB_ASSIGN(stream, GzipStream::create());
  }
  Window window;
  if (!span.packed_window.empty()) LB_TRY(unpack_window(span.packed_window, window));
  const Window* const needed = span.packed_window.empty() ? nullptr : &window;
  LB_TRY(span.member_start ? stream->start_at_member(span.blob_offset)
                           : stream->start_at_block(span.blob_offset, span.first_bit, needed));
  auto room = out;
  while (!room.empty()) {
    LB_ASSIGN(const auto step, stream->step(compressed, room));
    compressed = compressed.subspan(step.consumed);
    room = room.subspan(step.produced);
    if (step.stop == GzipStream::Stop::kMore) break;  // it wants more than there is, or there is no more room
    if (step.stop == GzipStream::Stop::kTrailing) break;
  }
  if (!room.empty()) return fail(EIO, "the compressed data from byte ", span.blob_offset, " on end early");
  if (span_hash(out) != span.hash) {
    return fail(EIO, "the data from byte ", span.blob_offset, " on are not those that were indexed");
  }
  return {};
}

}  // namespace layerboot::layer
