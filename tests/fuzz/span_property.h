// The property that random access rests on: whatever a scanner takes, each span decoded by itself gives what
// decoding from the start gave.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/gzip_scanner.h"
#include "oci-mount/layer/span_codec.h"
#include "tests/support/built_tables.h"

namespace layerboot::fuzz {

/// Keeps what was decoded, up to a size that fuzzing can bear.
class KeepingSink final : public layer::StreamSink {
 public:
  explicit KeepingSink(std::size_t room_bytes) : room_(room_bytes) {}
  std::span<std::byte> room() override { return room_; }
  Result<void> take(std::size_t size_bytes) override {
    constexpr std::size_t kMaxStream = 4U << 20U;
    stream_.insert(stream_.end(), room_.begin(), room_.begin() + static_cast<std::ptrdiff_t>(size_bytes));
    if (stream_.size() > kMaxStream) return fail(E2BIG);
    return {};
  }
  [[nodiscard]] std::span<const std::byte> stream() const { return stream_; }

 private:
  std::vector<std::byte> room_;
  std::vector<std::byte> stream_;
};

/// How an input is to be handed in: its first four bytes say.
struct Handling {
  std::size_t piece_bytes;  // of the blob, at a time
  std::size_t room_bytes;   // for what comes out, at a time
  bool as_blob;             // the rest is the blob; otherwise it is what the blob is to be made of
  unsigned kind;            // for who makes it
  std::size_t unit_bytes;   // of a member or a frame
  std::string_view rest;
};

inline Handling handling_of(const std::uint8_t* data, std::size_t size) {
  Handling handling{1 + data[1] * 300U,       64 + data[2] * 500U,
                    data[0] % 8 != 0,         data[0] / 8U,
                    20'000 + data[3] * 4000U, {reinterpret_cast<const char*>(data + 4), size - 4}};
  // What is made has several spans: in tiny pieces it would take too long.
  if (!handling.as_blob) {
    handling.piece_bytes = std::max<std::size_t>(handling.piece_bytes, 1000);
    handling.room_bytes = std::max<std::size_t>(handling.room_bytes, 1000);
  }
  return handling;
}

/// False where the scanner refuses the blob.
template <typename Scanner>
bool scan_all(Scanner& scanner, std::string_view blob, std::size_t piece_bytes) {
  for (std::size_t at = 0; at < blob.size(); at += piece_bytes) {
    if (!scanner.push(as_bytes(blob.substr(at, piece_bytes)))) return false;
  }
  return scanner.finish().has_value();
}

/// Aborts where a span gives other bytes than `stream` has.
inline void check_every_span(const layer::CheckpointTableBuilder& checkpoints, std::string_view blob,
                             std::span<const std::byte> stream) {
  const auto windows = test::items_of(checkpoints.windows());
  const auto table =
      layer::CheckpointTable::parse(checkpoints.records(), windows, blob.size(), stream.size());
  if (!table) std::abort();
  for (std::uint32_t i = 0; i < table->span_count(); ++i) {
    const layer::SpanInfo span = table->span(i);
    std::vector<std::byte> out(span.size_bytes);
    const auto compressed = as_bytes(blob).subspan(span.blob_offset, span.blob_bytes);
    if (!layer::decode_span(span, compressed, out)) std::abort();
    if (!std::equal(out.begin(), out.end(), stream.begin() + static_cast<std::ptrdiff_t>(span.stream_offset)))
      std::abort();
  }
}

}  // namespace layerboot::fuzz
