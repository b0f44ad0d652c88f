// Raw deflate data as zlib decodes them and as DeflateDecoder does, to be held against each other.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/deflate_decoder.h"

namespace layerboot::test {

inline Bytef* zlib_bytes(std::string_view text) {
  return const_cast<Bytef*>(reinterpret_cast<const Bytef*>(text.data()));  // zlib reads only
}

/// What a decoder makes of raw deflate data.
struct Decoded {
  std::string text;
  std::vector<std::uint64_t> block_ends;  // in bits; of all but the last
  std::uint64_t end_bits = 0;             // the end of the byte that the last one ends in
  std::string damage;                     // or "ends early"

  friend bool operator==(const Decoded&, const Decoded&) = default;
  friend void PrintTo(const Decoded& decoded, std::ostream* to) {
    *to << decoded.text.size() << " bytes, " << decoded.block_ends.size() << " blocks, ends at "
        << decoded.end_bits << ' ' << decoded.damage;
  }
};

inline Decoded by_zlib(std::string_view data) {
  Decoded decoded;
  z_stream stream{};
  if (::inflateInit2(&stream, -15) != Z_OK) std::abort();
  stream.next_in = zlib_bytes(data);
  stream.avail_in = static_cast<uInt>(data.size());
  const auto bits = [&] { return stream.total_in * 8 - static_cast<unsigned>(stream.data_type & 7); };
  for (int status = Z_OK; status == Z_OK;) {
    std::string part(65536, '\0');
    stream.next_out = zlib_bytes(part);
    stream.avail_out = static_cast<uInt>(part.size());
    status = ::inflate(&stream, Z_BLOCK);
    decoded.text.append(part, 0, part.size() - stream.avail_out);
    const bool is_last = (stream.data_type & 64) != 0;
    if (status == Z_OK && (stream.data_type & 128) != 0 && !is_last) decoded.block_ends.push_back(bits());
    if (status == Z_STREAM_END) decoded.end_bits = stream.total_in * 8;
    if (status == Z_BUF_ERROR) decoded.damage = "ends early";
    if (status == Z_DATA_ERROR) decoded.damage = stream.msg;
  }
  ::inflateEnd(&stream);
  return decoded;
}

/// Input comes in pieces of up to `in_bytes`, and has room in pieces of `out_bytes`.
inline Decoded by_us(layer::DeflateDecoder& decoder, std::string_view data, std::size_t in_bytes,
                     std::size_t out_bytes) {
  Decoded decoded;
  decoder.start();
  std::string room(out_bytes, '\0');
  for (std::size_t at = 0;;) {
    const auto in = as_bytes(data).subspan(at, std::min(in_bytes, data.size() - at));
    const auto step = decoder.step(in, std::as_writable_bytes(std::span(room)));
    if (!step) {
      decoded.damage = step.error().text;
      return decoded;
    }
    at += step->consumed;
    decoded.text.append(room, 0, step->produced);
    const std::uint64_t bits = at * 8 - decoder.unused_bits();
    if (step->stop == layer::DeflateDecoder::Stop::kBlockEnd) decoded.block_ends.push_back(bits);
    if (step->stop == layer::DeflateDecoder::Stop::kStreamEnd) {
      decoded.end_bits = (bits + 7) / 8 * 8;
      return decoded;
    }
    const bool is_stuck =
        step->stop == layer::DeflateDecoder::Stop::kMore && step->produced < out_bytes && at == data.size();
    if (is_stuck) {
      decoded.damage = "ends early";
      return decoded;
    }
  }
}

/// Of damaged data: how much is given out before an error, nobody relies on.
inline void leave_same_beginning(Decoded& one, Decoded& other) {
  const std::size_t size = std::min(one.text.size(), other.text.size());
  one.text.resize(size);
  other.text.resize(size);
}

}  // namespace layerboot::test
