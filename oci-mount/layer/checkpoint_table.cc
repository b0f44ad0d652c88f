#include "oci-mount/layer/checkpoint_table.h"

#include <zstd.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/stream_hash.h"

namespace layerboot::layer {

namespace {

/// The cheapest level: what is left of a window after packing is small whatever the level.
constexpr int kPackLevel = 1;

std::uint64_t end_byte(std::uint64_t bit_offset) { return bit_offset / 8 + (bit_offset % 8 != 0 ? 1 : 0); }

std::uint64_t stored_bytes(const CheckpointRecord& from, const CheckpointRecord& to) {
  return end_byte(to.blob_bit_offset) - from.blob_bit_offset / 8;
}

bool is_span_good(const CheckpointRecord& from, const CheckpointRecord& to, std::size_t windows_size_bytes) {
  return from.stream_offset < to.stream_offset && to.stream_offset - from.stream_offset <= kMaxSpanBytes &&
         from.blob_bit_offset < to.blob_bit_offset && stored_bytes(from, to) <= kMaxSpanBlobBytes &&
         (from.flags & ~kCheckpointKnownFlags) == 0 && from.window_offset <= windows_size_bytes &&
         from.window_packed_bytes <= windows_size_bytes - from.window_offset;
}

}  // namespace

Result<void> check_span(const SpanInfo& span, std::span<const std::byte> bytes) {
  if (bytes.size() == span.size_bytes && span_hash(bytes) == span.hash) return {};
  return fail(EIO, "the data from byte ", span.blob_offset, " on are not those that were indexed");
}

Result<CheckpointTable> CheckpointTable::parse(std::span<const CheckpointRecord> records,
                                               std::span<const std::byte> windows,
                                               std::uint64_t blob_size_bytes,
                                               std::uint64_t stream_size_bytes) {
  const auto bad = [](const char* what) { return fail(EBADMSG, "a checkpoint table with ", what); };
  CheckpointTable table;
  table.records_ = records;
  table.windows_ = windows;
  if (records.empty()) return stream_size_bytes == 0 ? Result<CheckpointTable>(table) : bad("no checkpoints");
  if (records.size() < 2) return bad("a single checkpoint");
  if (records.size() > std::numeric_limits<std::uint32_t>::max()) return bad("too many checkpoints");
  for (std::size_t i = 0; i + 1 < records.size(); ++i) {
    const CheckpointRecord& from = records[i];
    const CheckpointRecord& to = records[i + 1];
    if (!is_span_good(from, to, windows.size())) return bad("a bad span");
    table.largest_span_bytes_ =
        std::max(table.largest_span_bytes_, stored_bytes(from, to) + to.stream_offset - from.stream_offset);
  }
  if (records.front().stream_offset != 0 || records.back().stream_offset != stream_size_bytes ||
      end_byte(records.back().blob_bit_offset) > blob_size_bytes) {
    return bad("bad ends");
  }
  return table;
}

bool CheckpointTable::is_plain() const {
  for (std::size_t i = 0; i < records_.size(); ++i) {
    const CheckpointRecord& record = records_[i];
    const bool is_closing = i + 1 == records_.size();
    if (record.blob_bit_offset != record.stream_offset * 8 || record.flags != 0 ||
        record.window_packed_bytes != 0 || (!is_closing && record.stream_offset != i * kPlainSpanBytes)) {
      return false;
    }
  }
  return true;
}

SpanInfo CheckpointTable::span(std::uint32_t i) const {
  const CheckpointRecord& from = records_[i];
  const CheckpointRecord& to = records_[i + 1];
  SpanInfo span;
  span.stream_offset = from.stream_offset;
  span.size_bytes = static_cast<std::uint32_t>(to.stream_offset - from.stream_offset);
  span.blob_offset = from.blob_bit_offset / 8;
  span.first_bit = static_cast<unsigned>(from.blob_bit_offset % 8);
  span.blob_bytes = static_cast<std::uint32_t>(stored_bytes(from, to));
  span.zstd_frame = (from.flags & kCheckpointZstdFrame) != 0;
  span.member_start = (from.flags & kCheckpointMemberStart) != 0;
  span.hash = from.span_hash;
  span.packed_window = windows_.subspan(from.window_offset, from.window_packed_bytes);
  return span;
}

std::uint32_t CheckpointTable::find(std::uint64_t stream_offset) const {
  const auto after = std::upper_bound(
      records_.begin(), records_.end(), stream_offset,
      [](std::uint64_t offset, const CheckpointRecord& record) { return offset < record.stream_offset; });
  return static_cast<std::uint32_t>(after - records_.begin() - 1);
}

Result<void> CheckpointTableBuilder::add(std::uint64_t stream_offset, std::uint64_t blob_bit_offset,
                                         bool member_start, std::span<const std::byte> packed_window) {
  if (windows_.size() + packed_window.size() > std::numeric_limits<std::uint32_t>::max()) {
    return fail(E2BIG, "checkpoint windows are over the limit of 4 GiB");
  }
  CheckpointRecord record;
  record.stream_offset = stream_offset;
  record.blob_bit_offset = blob_bit_offset;
  record.window_offset = static_cast<std::uint32_t>(windows_.size());
  record.window_packed_bytes = static_cast<std::uint16_t>(packed_window.size());
  record.flags = member_start ? kCheckpointMemberStart : 0;
  LB_TRY(add_record(record));
  return windows_.append(packed_window);
}

Result<void> CheckpointTableBuilder::add_zstd(std::uint64_t stream_offset, std::uint64_t blob_offset) {
  CheckpointRecord record;
  record.stream_offset = stream_offset;
  record.blob_bit_offset = blob_offset * 8;
  record.flags = kCheckpointZstdFrame;
  return add_record(record);
}

Result<void> CheckpointTableBuilder::add_plain(std::uint64_t stream_offset) {
  CheckpointRecord record;
  record.stream_offset = stream_offset;
  record.blob_bit_offset = stream_offset * 8;
  return add_record(record);
}

Result<void> CheckpointTableBuilder::add_record(CheckpointRecord record) {
  if (!records_.empty()) {
    const CheckpointRecord& last = records_.back();
    if (record.stream_offset - last.stream_offset > kMaxSpanBytes) {
      return fail(ENOTSUP, "a deflate block that gives ", record.stream_offset - last.stream_offset,
                  " bytes is over the limit of ", kMaxSpanBytes, ": compress the layer with another tool");
    }
    if (end_byte(record.blob_bit_offset) - last.blob_bit_offset / 8 > kMaxSpanBlobBytes) {
      return fail(EINVAL, "more than ", kMaxSpanBlobBytes,
                  " compressed bytes that give next to nothing: over the limit");
    }
  }
  records_.push_back(record);
  return {};
}

Result<std::vector<std::byte>> pack_window(const Window& window) {
  std::array<std::byte, ZSTD_COMPRESSBOUND(kWindowBytes)> packed;
  static_assert(ZSTD_COMPRESSBOUND(kWindowBytes) <= std::numeric_limits<std::uint16_t>::max());
  struct FreeEncoder {
    void operator()(ZSTD_CCtx* encoder) const { ::ZSTD_freeCCtx(encoder); }
  };
  // Made once: to make it takes longer than to pack a window.
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeEncoder> encoder(::ZSTD_createCCtx());
  if (!encoder) return fail(ENOMEM, "no memory for zstd");
  const std::size_t size = ::ZSTD_compressCCtx(encoder.get(), packed.data(), packed.size(), window.data(),
                                               window.size(), kPackLevel);
  if (::ZSTD_isError(size) != 0) return fail(ENOMEM, "zstd: ", ::ZSTD_getErrorName(size));
  // Not more than it takes: a large layer has many.
  return std::vector<std::byte>(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(size));
}

Result<void> unpack_window(std::span<const std::byte> packed, Window& window) {
  const std::size_t size = ::ZSTD_decompress(window.data(), window.size(), packed.data(), packed.size());
  if (size != window.size()) return fail(EBADMSG, "a checkpoint's window can't be unpacked");
  return {};
}

}  // namespace layerboot::layer
