#include "oci-mount/layer/fast_inflate.h"

#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "oci-mount/layer/gzip_header.h"

namespace layerboot::layer {

namespace {

constexpr std::size_t kTrailerBytes = 8;

/// Skips a member's header, magic and all. Empty when it is none.
std::span<const std::byte> after_header(std::span<const std::byte> in) {
  if (in.size() < 2 || in[0] != kGzipMagic1 || in[1] != kGzipMagic2) return {};
  GzipHeaderParser header;
  const auto taken = header.push(in.subspan(2));
  if (!taken || !header.done()) return {};
  return in.subspan(2 + *taken);
}

/// Decodes one member, or the rest of one, and takes what it read off `in` and what it wrote off `out`.
/// False when the data are bad, or end before the member or the room does.
bool inflate_member(inflate_state& state, std::span<const std::byte>& in, std::span<std::byte>& out) {
  state.next_in =
      const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(in.data()));  // it reads only
  state.avail_in = static_cast<std::uint32_t>(in.size());
  state.next_out = reinterpret_cast<std::uint8_t*>(out.data());
  state.avail_out = static_cast<std::uint32_t>(out.size());
  const int status = ::isal_inflate(&state);
  out = out.last(state.avail_out);
  if (status != ISAL_DECOMP_OK) return false;
  if (out.empty()) return true;
  if (state.block_state != ISAL_BLOCK_FINISH) return false;
  // Whole bytes that it took in ahead are still to be read.
  const auto ahead = static_cast<std::size_t>(state.read_in_length / 8);
  const std::size_t consumed = in.size() - state.avail_in;
  if (ahead > consumed) return false;
  in = in.subspan(consumed - ahead);
  return true;
}

}  // namespace

bool fast_decode_gzip(const GzipStart& start, std::span<const std::byte> compressed,
                      std::span<std::byte> out) {
  constexpr std::size_t kMaxBytes = std::numeric_limits<std::uint32_t>::max();
  if (compressed.size() > kMaxBytes || out.size() > kMaxBytes) return false;
  thread_local auto state = std::make_unique<inflate_state>();  // 85 KiB
  ::isal_inflate_init(state.get());
  if (start.member_start) {
    compressed = after_header(compressed);
  } else {
    if (start.first_bit != 0 && !compressed.empty()) {
      state->read_in = std::to_integer<std::uint64_t>(compressed.front()) >> start.first_bit;
      state->read_in_length = static_cast<std::int32_t>(8 - start.first_bit);
      compressed = compressed.subspan(1);
    }
    if (start.window != nullptr &&
        ::isal_inflate_set_dict(
            state.get(),
            const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(start.window->data())),
            static_cast<std::uint32_t>(kWindowBytes)) != ISAL_DECOMP_OK) {
      return false;
    }
  }
  while (!compressed.empty() || !out.empty()) {
    if (!inflate_member(*state, compressed, out)) return false;
    if (out.empty()) return true;
    if (compressed.size() <= kTrailerBytes) return false;
    compressed = after_header(compressed.subspan(kTrailerBytes));
    if (compressed.empty()) return false;
    ::isal_inflate_init(state.get());
  }
  return out.empty();
}

}  // namespace layerboot::layer
