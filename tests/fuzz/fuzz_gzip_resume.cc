// Gzip data of any content, and any content compressed in many ways: whatever the scanner takes, decoding
// from each checkpoint gives what decoding from the start gave.
#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/gzip_codec.h"
#include "oci-mount/layer/gzip_scanner.h"

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
  std::unique_ptr<GzipScanner> scanner;
  SideThread side;
  scanner = GzipScanner::create(sink, side).value();
  for (std::size_t at = 0; at < blob.size(); at += piece_bytes) {
    if (!scanner->push(as_bytes(blob.substr(at, piece_bytes)))) return side.drain();
  }
  if (!scanner->finish()) return side.drain();
  const auto table = CheckpointTable::parse(
      scanner->checkpoints().records(), scanner->checkpoints().windows(), blob.size(), sink.stream_.size());
  if (!table) std::abort();
  for (std::uint32_t i = 0; i < table->span_count(); ++i) {
    const SpanInfo span = table->span(i);
    std::vector<std::byte> out(span.size_bytes);
    if (!decode_gzip_span(span, as_bytes(blob).subspan(span.blob_offset, span.blob_bytes), out)) std::abort();
    if (!std::equal(out.begin(), out.end(),
                    sink.stream_.begin() + static_cast<std::ptrdiff_t>(span.stream_offset)))
      std::abort();
  }
}

std::string compress(std::string_view text, int level, int strategy) {
  z_stream stream{};
  if (::deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 1 + level % 9, strategy) != Z_OK) std::abort();
  std::string out(::deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (::deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

/// A stream of several spans out of a few bytes: they say which pieces of them follow each other.
std::string expand(std::string_view seed) {
  std::string text;
  std::uint64_t state = 88172645463325252ULL + seed.size();
  while (text.size() < 700'000 && !seed.empty()) {
    state ^= state << 13U, state ^= state >> 7U, state ^= state << 17U;
    const std::size_t from = state % seed.size();
    text += seed.substr(from, 1 + (state >> 20U) % 60);
    if ((state >> 40U) % 5 == 0) text += static_cast<char>(state >> 50U);
  }
  return text;
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
  const std::string text = expand(rest);
  const std::size_t member_bytes = 20'000 + data[3] * 4000U;
  std::string blob;
  for (std::size_t at = 0; at < text.size(); at += member_bytes) {
    blob += compress(std::string_view(text).substr(at, member_bytes), data[3] % 10, data[0] / 8 % 5);
  }
  check(blob, std::max<std::size_t>(piece_bytes, 1000), std::max<std::size_t>(room_bytes, 1000));
  return 0;
}
