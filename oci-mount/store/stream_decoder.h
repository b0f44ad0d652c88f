// StreamDecoder: gzip, zstd, xz and bzip2 from the beginning to the end, by the libraries that made them
// known (zlib, libzstd, liblzma, libbz2). What is to be read from the middle has scanners of its own
// (oci-mount/layer).
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "oci-mount/base/result.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::store {

/// What a decoder may take at most (xz -9 takes 65 MiB).
inline constexpr std::size_t kMaxDecoderBytes = 128U << 20U;

/// Several streams behind each other are one, as the tools have it. Checksums are checked. What comes behind
/// the last stream and begins none is left out, of gzip and bzip2; of xz and zstd it is an error. Used by one
/// thread.
class StreamDecoder {
 public:
  struct Step {
    std::size_t consumed = 0;
    std::size_t produced = 0;
  };

  /// REQUIRES: it is compressed.
  static Result<std::unique_ptr<StreamDecoder>> create(Compression compression);
  virtual ~StreamDecoder() = default;

  /// Goes on with `in`, into `out`, which has room. All that `in` gives has been given once it is consumed
  /// and `out` has room left. EBADMSG for what is damaged, E2BIG for what takes more memory than
  /// kMaxDecoderBytes; both begin with "its xz data" or so.
  virtual Result<Step> decode(std::span<const std::byte> in, std::span<std::byte> out) = 0;
  /// At the end of what there is: EBADMSG where the stream is cut short.
  virtual Result<void> finish() = 0;

  /// All of `in`: `room()` gives where to, at least one byte, and `take(size_bytes)`, a Result<void>, is told
  /// how much of it was filled.
  template <typename Room, typename Take>
  Result<void> decode_all(std::span<const std::byte> in, Room room, Take take) {
    for (bool more = !in.empty(); more;) {
      const std::span<std::byte> out = room();
      LB_ASSIGN(const Step step, decode(in, out));
      if (step.produced != 0) LB_TRY(take(step.produced));
      in = in.subspan(step.consumed);
      more = !in.empty() || step.produced == out.size();
    }
    return {};
  }
};

}  // namespace layerboot::store
