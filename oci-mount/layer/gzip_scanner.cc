#include "oci-mount/layer/gzip_scanner.h"

#include <algorithm>
#include <utility>

namespace layerboot::layer {

GzipScanner::GzipScanner(StreamSink& sink, SideThread& side, std::uint64_t span_target_bytes,
                         FileAppender* scratch, StreamHash span_hash)
    : sink_(sink),
      side_(side),
      span_target_bytes_(span_target_bytes),
      span_hash_(std::move(span_hash)),
      table_(scratch) {}
GzipScanner::~GzipScanner() = default;

Result<std::unique_ptr<GzipScanner>> GzipScanner::create(StreamSink& sink, SideThread& side,
                                                         std::uint64_t span_target_bytes,
                                                         FileAppender* scratch) {
  LB_ASSIGN(StreamHash span_hash, StreamHash::create());
  std::unique_ptr<GzipScanner> scanner(
      new GzipScanner(sink, side, span_target_bytes, scratch, std::move(span_hash)));
  scanner->stream_.start_at_member(0);
  return scanner;
}

Result<void> GzipScanner::push(std::span<const std::byte> blob_bytes) {
  while (!trailing_) {
    const auto room = sink_.room();
    LB_ASSIGN(const auto step, stream_.step(blob_bytes, room));
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
  span_hash_.update(bytes);
  stream_offset_ += bytes.size();
  if (stream_offset_ > kMaxStreamBytes) {
    return fail(E2BIG, "it gives more than the limit of ", kMaxStreamBytes, " bytes for a layer");
  }
  if (stream_offset_ - checkpoints_.back().stream_offset > kMaxSpanBytes) {
    return fail(ENOTSUP, "it has a deflate block over the limit of ", kMaxSpanBytes,
                " bytes: compress the layer with another tool");
  }
  return sink_.take(bytes.size());
}

Result<void> GzipScanner::at_boundary() {
  const auto& boundary = stream_.boundary();
  const bool first = checkpoints_.empty();
  if (!first && stream_offset_ - checkpoints_.back().stream_offset < span_target_bytes_) return {};
  close_span();
  checkpoints_.emplace_back(stream_offset_, boundary);
  // The last one's span is open. As many wait at most as the side thread has jobs.
  while (checkpoints_.size() > 1 && !checkpoints_.front().is_being_packed.load(std::memory_order_acquire))
    LB_TRY(settle_front());
  if (boundary.member_start) return {};
  auto window = std::make_shared<WindowUse>();
  if (stream_.copy_window(window->bytes) == 0) return {};
  stream_.note_needed(&window->needed);
  window_ = std::move(window);
  return {};
}

/// Puts the first one into the table. REQUIRES: its window is packed, and its span closed.
Result<void> GzipScanner::settle_front() {
  const Checkpoint& checkpoint = checkpoints_.front();
  if (!checkpoint.packed_window) return std::unexpected(checkpoint.packed_window.error());
  LB_TRY(table_.add(checkpoint.stream_offset, checkpoint.boundary.blob_bit_offset,
                    checkpoint.boundary.member_start, *checkpoint.packed_window));
  table_.set_span_hash(checkpoint.span_hash);
  checkpoints_.pop_front();
  return {};
}

void GzipScanner::close_span() {
  if (window_) pack_window_of_last();
  if (!checkpoints_.empty()) checkpoints_.back().span_hash = span_hash_.digest();
  span_hash_.reset();
}

void GzipScanner::pack_window_of_last() {
  Checkpoint& checkpoint = checkpoints_.back();
  checkpoint.is_being_packed.store(true, std::memory_order_relaxed);
  stream_.note_needed(nullptr);
  side_.submit([&checkpoint, window = std::exchange(window_, nullptr)] {
    checkpoint.packed_window = pack_used_window(*window);
    checkpoint.is_being_packed.store(false, std::memory_order_release);
  });
}

Result<void> GzipScanner::finish() {
  LB_TRY(stream_.finish());
  if (stream_offset_ == 0) return {};
  close_span();
  side_.drain();
  // A checkpoint at the very end has no span: the closing one takes its place.
  if (checkpoints_.back().stream_offset == stream_offset_) checkpoints_.pop_back();
  while (!checkpoints_.empty()) LB_TRY(settle_front());
  return table_.add(stream_offset_, stream_.end_offset() * 8, false, {});
}

}  // namespace layerboot::layer
