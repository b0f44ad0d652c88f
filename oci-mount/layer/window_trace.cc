#include "oci-mount/layer/window_trace.h"

#include <algorithm>
#include <optional>

#include "oci-mount/layer/gzip_codec.h"

namespace layerboot::layer {

namespace {

/// Set in each byte of the second probe, so that a byte that comes from the window differs there for sure.
constexpr unsigned kFromWindow = 0x80;

using Needed = std::vector<bool>;

/// The output when the window's byte i is changed by `change(i)`. What deflate does with a window does not
/// depend on the bytes in it, so each byte that is copied out of the window carries the change of where it
/// came from.
template <typename Change>
std::optional<std::vector<std::byte>> probe(const WindowTrace& trace, Change change) {
  Window window = trace.window;
  for (std::size_t i = 0; i < window.size(); ++i) window[i] ^= static_cast<std::byte>(change(i));
  std::vector<std::byte> output(trace.output.size());
  const GzipStart start{0, trace.first_bit, false, &window};
  if (!decode_gzip(start, trace.compressed, output)) return std::nullopt;
  return output;
}

/// Two probes spell out, bit by bit, the place in the window that each byte came from.
std::optional<Needed> find_needed(const WindowTrace& trace) {
  const auto low = probe(trace, [](std::size_t i) { return i & 0xffU; });
  const auto high = probe(trace, [](std::size_t i) { return i >> 8U | kFromWindow; });
  if (!low || !high) return std::nullopt;
  Needed needed(kWindowBytes);
  for (std::size_t i = 0; i < trace.output.size(); ++i) {
    const auto high_change = std::to_integer<std::size_t>((*high)[i] ^ trace.output[i]);
    if ((high_change & kFromWindow) == 0) continue;
    const auto low_change = std::to_integer<std::size_t>((*low)[i] ^ trace.output[i]);
    needed[(high_change & ~std::size_t{kFromWindow}) << 8U | low_change] = true;
  }
  return needed;
}

}  // namespace

Result<std::vector<std::byte>> pack_traced_window(const WindowTrace& trace) {
  const auto needed = find_needed(trace);
  if (!needed) return pack_window(trace.window);
  if (std::find(needed->begin(), needed->end(), true) == needed->end()) return std::vector<std::byte>();
  Window sparse{};
  for (std::size_t i = 0; i < sparse.size(); ++i) {
    if ((*needed)[i]) sparse[i] = trace.window[i];
  }
  return pack_window(sparse);
}

}  // namespace layerboot::layer
