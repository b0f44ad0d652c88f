// Zstd data of any content, and any content compressed in frames: whatever the scanner takes, decoding each
// span by itself gives what decoding from the start gave.
#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "oci-mount/layer/zstd_scanner.h"
#include "tests/fuzz/span_property.h"

namespace {

using namespace layerboot;
using namespace layerboot::layer;

void check(std::string_view blob, const fuzz::Handling& handling) {
  fuzz::KeepingSink sink(handling.room_bytes);
  const auto scanner = ZstdScanner::create(sink, nullptr).value();
  if (fuzz::scan_all(*scanner, blob, handling.piece_bytes))
    fuzz::check_every_span(scanner->checkpoints(), blob, sink.stream());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  const fuzz::Handling handling = fuzz::handling_of(data, size);
  if (handling.as_blob) {
    check(handling.rest, handling);
    return 0;
  }
  // The same bytes over and over, so that a few make several spans.
  std::string text;
  while (!handling.rest.empty() && text.size() < 700'000) text += handling.rest;
  std::string blob;
  for (std::size_t at = 0; at < text.size(); at += handling.unit_bytes) {
    const auto piece = std::string_view(text).substr(at, handling.unit_bytes);
    std::string packed(::ZSTD_compressBound(piece.size()), '\0');
    packed.resize(::ZSTD_compress(packed.data(), packed.size(), piece.data(), piece.size(), 1));
    blob += packed;
  }
  check(blob, handling);
  return 0;
}
