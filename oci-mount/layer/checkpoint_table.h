// CheckpointTable: where a layer's decoding can start, span by span.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/index_format.h"
#include "oci-mount/layer/spilled.h"

namespace layerboot::layer {

inline constexpr std::size_t kWindowBytes = 32768;
using Window = std::array<std::byte, kWindowBytes>;

/// One span: the stream's bytes from a checkpoint to the next.
struct SpanInfo {
  std::uint64_t stream_offset = 0;
  std::uint32_t size_bytes = 0;
  std::uint64_t blob_offset = 0;  // of the byte that holds the first bit
  std::uint32_t blob_bytes = 0;   // up to and with the byte that holds the last bit
  unsigned first_bit = 0;         // 0 to 7, in the first byte
  bool member_start = false;
  bool zstd_frame = false;
  std::uint64_t hash = 0;
  std::span<const std::byte> packed_window;  // zstd; empty: none is needed
};

/// EIO unless these are the bytes that the index was made of.
Result<void> check_span(const SpanInfo& span, std::span<const std::byte> bytes);

/// A view of a mapped index; lives as long as that. Immutable and thread-safe.
class CheckpointTable {
 public:
  CheckpointTable() = default;
  /// Checks order, ranges and sizes, so that no later access needs a check.
  static Result<CheckpointTable> parse(std::span<const CheckpointRecord> records,
                                       std::span<const std::byte> windows, std::uint64_t blob_size_bytes,
                                       std::uint64_t stream_size_bytes);

  /// Whether it is one of a plain tar: spans on a grid (kPlainSpanBytes), each stored as it is.
  [[nodiscard]] bool is_plain() const;

  [[nodiscard]] std::uint32_t span_count() const {
    return records_.empty() ? 0 : static_cast<std::uint32_t>(records_.size() - 1);
  }
  /// REQUIRES: i < span_count().
  [[nodiscard]] SpanInfo span(std::uint32_t i) const;
  /// Of all spans, the most that one takes while it is decoded: its bytes, stored and decoded.
  [[nodiscard]] std::uint64_t largest_span_bytes() const { return largest_span_bytes_; }
  /// The span that holds `stream_offset`. REQUIRES: it lies within the stream.
  [[nodiscard]] std::uint32_t find(std::uint64_t stream_offset) const;

 private:
  std::span<const CheckpointRecord> records_;
  std::span<const std::byte> windows_;
  std::uint64_t largest_span_bytes_ = 0;
};

/// Gathers checkpoints while a blob streams by. Not thread-safe.
class CheckpointTableBuilder {
 public:
  /// `scratch` takes the windows, as Spilled has it.
  explicit CheckpointTableBuilder(FileAppender* scratch = nullptr) : windows_(scratch) {}

  /// Offsets grow from call to call. `packed_window` as pack_window() gave it, or empty.
  Result<void> add(std::uint64_t stream_offset, std::uint64_t blob_bit_offset, bool member_start,
                   std::span<const std::byte> packed_window);
  /// The same for a zstd frame, at a byte.
  Result<void> add_zstd(std::uint64_t stream_offset, std::uint64_t blob_offset);
  /// The same for a span of a plain tar.
  Result<void> add_plain(std::uint64_t stream_offset);
  /// The hash of the span that the last checkpoint begins.
  void set_span_hash(std::uint64_t hash) { records_.back().span_hash = hash; }

  [[nodiscard]] std::span<const CheckpointRecord> records() const { return records_; }
  /// One after the other, in the order of their checkpoints.
  [[nodiscard]] const Spilled<std::byte>& windows() const { return windows_; }

 private:
  Result<void> add_record(CheckpointRecord record);

  std::vector<CheckpointRecord> records_;
  Spilled<std::byte> windows_;
};

/// A window as an index keeps it: zstd of the 32 KiB.
Result<std::vector<std::byte>> pack_window(const Window& window);
Result<void> unpack_window(std::span<const std::byte> packed, Window& window);

}  // namespace layerboot::layer
