// Gzip data of any content, and any content compressed in many ways: whatever the scanner takes, decoding
// from each checkpoint gives what decoding from the start gave.
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "tests/fuzz/span_property.h"

namespace {

using namespace layerboot;
using namespace layerboot::layer;

void check(std::string_view blob, const fuzz::Handling& handling) {
  fuzz::KeepingSink sink(handling.room_bytes);
  std::unique_ptr<GzipScanner> scanner;
  SideThread side;
  scanner = GzipScanner::create(sink, side).value();
  const bool taken = fuzz::scan_all(*scanner, blob, handling.piece_bytes);
  side.drain();
  if (taken) fuzz::check_every_span(scanner->checkpoints(), blob, sink.stream());
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
  const fuzz::Handling handling = fuzz::handling_of(data, size);
  if (handling.as_blob) {
    check(handling.rest, handling);
    return 0;
  }
  const std::string text = expand(handling.rest);
  std::string blob;
  for (std::size_t at = 0; at < text.size(); at += handling.unit_bytes) {
    blob += compress(std::string_view(text).substr(at, handling.unit_bytes), data[3] % 10,
                     static_cast<int>(handling.kind % 5));
  }
  check(blob, handling);
  return 0;
}
