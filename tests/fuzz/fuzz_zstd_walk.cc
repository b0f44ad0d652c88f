// Zstd data of any content, and any content compressed in frames: whatever the scanner takes, decoding each
// span by itself gives what decoding from the start gave.
#include <zstd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/span_codec.h"
#include "oci-mount/layer/zstd_scanner.h"

namespace {

using namespace layerboot;
using namespace layerboot::layer;

constexpr std::size_t kMaxStream = 4U << 20U;

class Sink final : public StreamSink {
 public:
  explicit Sink(std::size_t room_bytes) : room_(room_bytes) {}
  std::span<std::byte> room() override { return room_; }
  Result<void> take(std::size_t size_bytes) override {
    stream_.insert(stream_.end(), room_.begin(), room_.begin() + static_cast<std::ptrdiff_t>(size_bytes));
    if (stream_.size() > kMaxStream) return fail(E2BIG);
    return {};
  }
  std::vector<std::byte> stream_;

 private:
  std::vector<std::byte> room_;
};

void check(std::string_view blob, std::size_t piece_bytes, std::size_t room_bytes) {
  Sink sink(room_bytes);
  const auto scanner = ZstdScanner::create(sink, nullptr).value();
  for (std::size_t at = 0; at < blob.size(); at += piece_bytes) {
    if (!scanner->push(as_bytes(blob.substr(at, piece_bytes)))) return;
  }
  if (!scanner->finish()) return;
  const auto table =
      CheckpointTable::parse(scanner->checkpoints().records(), {}, blob.size(), sink.stream_.size());
  if (!table) std::abort();
  for (std::uint32_t i = 0; i < table->span_count(); ++i) {
    const SpanInfo span = table->span(i);
    std::vector<std::byte> out(span.size_bytes);
    if (!decode_span(span, as_bytes(blob).subspan(span.blob_offset, span.blob_bytes), out)) std::abort();
    if (!std::equal(out.begin(), out.end(),
                    sink.stream_.begin() + static_cast<std::ptrdiff_t>(span.stream_offset)))
      std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data + 4), size - 4);
  const std::size_t piece_bytes = 1 + data[1] * 300U;
  const std::size_t room_bytes = 64 + data[2] * 500U;
  if (data[0] % 8 != 0) {
    check(rest, piece_bytes, room_bytes);
    return 0;
  }
  // The same bytes over and over, so that a few make several spans.
  std::string text;
  while (!rest.empty() && text.size() < 700'000) text += rest;
  const std::size_t frame_bytes = 20'000 + data[3] * 4000U;
  std::string blob;
  for (std::size_t at = 0; at < text.size(); at += frame_bytes) {
    const auto piece = std::string_view(text).substr(at, frame_bytes);
    std::string packed(::ZSTD_compressBound(piece.size()), '\0');
    packed.resize(::ZSTD_compress(packed.data(), packed.size(), piece.data(), piece.size(), 1));
    blob += packed;
  }
  check(blob, std::max<std::size_t>(piece_bytes, 1000), std::max<std::size_t>(room_bytes, 1000));
  return 0;
}
