#include "oci-mount/layer/window_trace.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "oci-mount/layer/fast_inflate.h"
#include "oci-mount/layer/gzip_codec.h"

namespace layerboot::layer {

namespace {

/// Set in each byte of the second probe, so that a byte that comes from the window differs there for sure.
constexpr unsigned kFromWindow = 0x80;

/// A byte for each of the window's: 1 where it is referred to. Bytes, not bits: this loop runs over an eighth
/// of what is indexed.
using Needed = std::array<std::uint8_t, kWindowBytes>;

using Decode = bool (*)(const GzipStart& start, std::span<const std::byte> compressed,
                        std::span<std::byte> out);

bool sure_decode_gzip(const GzipStart& start, std::span<const std::byte> compressed,
                      std::span<std::byte> out) {
  return decode_gzip(start, compressed, out).has_value();
}

/// The output when the window's byte i is changed by `change(i)`. What deflate does with a window does not
/// depend on the bytes in it, so each byte that is copied out of the window carries the change of where it
/// came from.
template <typename Change>
bool probe(const WindowTrace& trace, Decode decode, std::span<std::byte> output, Change change) {
  Window window = trace.window;
  for (std::size_t i = 0; i < window.size(); ++i) window[i] ^= static_cast<std::byte>(change(i));
  return decode({0, trace.first_bit, false, &window}, trace.compressed, output);
}

/// Two probes spell out, bit by bit, the place in the window that each byte came from. False where a probe
/// can't be decoded, or changes a byte that does not come from the window: then its decoder is wrong.
bool find_needed(const WindowTrace& trace, Decode decode, Needed& needed) {
  std::array<std::byte, kWindowBytes> low_room;
  std::array<std::byte, kWindowBytes> high_room;
  const std::size_t size = std::min(trace.output.size(), kWindowBytes);
  const auto low = std::span(low_room).first(size);
  const auto high = std::span(high_room).first(size);
  if (!probe(trace, decode, low, [](std::size_t i) { return i & 0xffU; }) ||
      !probe(trace, decode, high, [](std::size_t i) { return i >> 8U | kFromWindow; }))
    return false;
  needed.fill(0);
  unsigned unsound = 0;
  const auto same = [&trace](std::span<const std::byte> probed, std::size_t at, std::size_t count) {
    return std::memcmp(probed.data() + at, trace.output.data() + at, count) == 0;
  };
  for (std::size_t i = 0; i < size; ++i) {
    // Most bytes do not come from the window: eight at a time are passed over.
    constexpr std::size_t kStride = sizeof(std::uint64_t);
    if (i % kStride == 0 && size - i >= kStride && same(high, i, kStride) && same(low, i, kStride)) {
      i += kStride - 1;
      continue;
    }
    const auto high_change = std::to_integer<unsigned>(high[i] ^ trace.output[i]);
    const auto low_change = std::to_integer<unsigned>(low[i] ^ trace.output[i]);
    const unsigned from_window = high_change >> 7U;
    needed[(high_change & (kFromWindow - 1)) << 8U | low_change] |= static_cast<std::uint8_t>(from_window);
    unsound |= (from_window - 1U) & (high_change | low_change);
  }
  return unsound == 0;
}

}  // namespace

Result<std::vector<std::byte>> pack_traced_window(const WindowTrace& trace) {
  Needed needed;
  if (!find_needed(trace, fast_decode_gzip, needed) && !find_needed(trace, sure_decode_gzip, needed))
    return pack_window(trace.window);
  if (std::find(needed.begin(), needed.end(), 1) == needed.end()) return std::vector<std::byte>();
  Window sparse;
  for (std::size_t i = 0; i < sparse.size(); ++i)
    sparse[i] = trace.window[i] & static_cast<std::byte>(0U - needed[i]);
  return pack_window(sparse);
}

}  // namespace layerboot::layer
