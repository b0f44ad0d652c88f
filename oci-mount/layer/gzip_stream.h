// GzipStream: a gzip file of any number of members, decoded piece by piece, with a stop at each place where
// decoding could start again.
//
// Follows RFC 1952. Member headers and trailers are read here, so that decoding may start in the middle; a
// member's own CRC is not checked, since every byte that passes is covered by the DiffID when it is indexed
// and by the span's hash when it is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/deflate_decoder.h"
#include "oci-mount/layer/gzip_header.h"

namespace layerboot::layer {

/// Used by one thread at a time.
class GzipStream {
 public:
  GzipStream() = default;
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  /// The next input byte is the first of a member's header, at `blob_offset`.
  void start_at_member(std::uint64_t blob_offset);
  /// The next input byte is at `blob_offset`, and holds, from bit `first_bit` on, the first bit of a deflate
  /// block. `window` are the 32 KiB before it, null when the data refer to nothing before it.
  void start_at_block(std::uint64_t blob_offset, unsigned first_bit, const Window* window);

  enum class Stop {
    kMore,      // all input is taken, or the output is full
    kBoundary,  // boundary() is a place to start at
    kTrailing,  // behind the last member; more input is ignored
  };
  struct Step {
    std::size_t consumed = 0;
    std::size_t produced = 0;
    Stop stop = Stop::kMore;
  };
  /// Decodes until it needs more input or room, or stands at a boundary.
  Result<Step> step(std::span<const std::byte> in, std::span<std::byte> out);

  struct Boundary {
    std::uint64_t blob_bit_offset = 0;
    bool member_start = false;
  };
  [[nodiscard]] const Boundary& boundary() const { return boundary_; }
  /// The last 32 KiB of this member's output, at a boundary that is no member's start: what precedes is zero
  /// where there is less. Gives how many bytes of it are output.
  std::size_t copy_window(Window& window) const { return decoder_.copy_window(window); }
  /// There: from here on what this member refers to of that window is noted in `needed`, until the next call
  /// of this. `needed` stays as long.
  void note_needed(NeededBytes* needed) { decoder_.note_needed(needed); }

  /// Behind the last whole member's trailer: where the gzip data end.
  [[nodiscard]] std::uint64_t end_offset() const { return end_offset_; }
  /// EBADMSG when the input so far ends within a member.
  [[nodiscard]] Result<void> finish() const;

 private:
  enum class Phase { kMagic, kHeader, kFirstBits, kBody, kTrailer, kTrailing };
  Result<Step> step_magic(std::span<const std::byte> in);
  Result<Step> step_header(std::span<const std::byte> in);
  Step step_first_bits(std::span<const std::byte> in);
  Result<Step> step_body(std::span<const std::byte> in, std::span<std::byte> out);
  Step step_trailer(std::span<const std::byte> in);

  DeflateDecoder decoder_;
  Phase phase_ = Phase::kMagic;
  std::uint64_t offset_ = 0;  // in the blob, of the next input byte
  std::uint64_t end_offset_ = 0;
  Boundary boundary_;
  bool first_magic_byte_seen_ = false;
  bool any_member_seen_ = false;
  unsigned first_bit_ = 0;
  std::size_t trailer_left_ = 0;
  std::uint64_t member_output_bytes_ = 0;
  std::uint32_t empty_members_ = 0;
  GzipHeaderParser header_;
};

}  // namespace layerboot::layer
