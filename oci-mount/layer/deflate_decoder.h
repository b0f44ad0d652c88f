// DeflateDecoder: raw deflate data, decoded piece by piece, with a stop behind each block, and with a record
// of what a block and those after it refer to.
//
// Follows RFC 1951, and takes and refuses what zlib does. An own decoder, because indexing needs these two,
// and nothing else costs it as much: see DESIGN.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/huffman_table.h"

namespace layerboot::layer {

/// A byte for each of a window's: 1 where it is referred to.
using NeededBytes = std::array<std::uint8_t, kWindowBytes>;

/// Used by one thread at a time. Takes 130 KiB.
class DeflateDecoder {
 public:
  DeflateDecoder();
  DeflateDecoder(const DeflateDecoder&) = delete;
  DeflateDecoder& operator=(const DeflateDecoder&) = delete;

  /// The next input bit is a block's first; nothing before it can be referred to.
  void start();
  /// The same after `window`.
  void start(const Window& window);
  /// The first input bits, right after start(): the lowest `bit_count` of `bits`, at most 8.
  void prime(unsigned bits, unsigned bit_count);

  enum class Stop {
    kMore,       // all input is taken, or the output is full
    kBlockEnd,   // behind a block that is not the last
    kStreamEnd,  // behind the last
  };
  struct Step {
    std::size_t consumed = 0;
    std::size_t produced = 0;
    Stop stop = Stop::kMore;
  };
  /// Decodes until it needs more input or room, or stands at a block's end, with all before it given out.
  /// EBADMSG says what is wrong with the data, by zlib's words. After an error or kStreamEnd: start().
  Result<Step> step(std::span<const std::byte> in, std::span<std::byte> out);

  /// Of the last step's input, also where that has failed: how many bytes were taken.
  [[nodiscard]] std::size_t taken_bytes() const { return taken_bytes_; }
  /// At a stop: bits of the input that are consumed, and belong to what comes next; at most 63.
  [[nodiscard]] unsigned unused_bits() const { return bit_count_; }
  /// At a block's end: the last 32 KiB of output, zeroes before it where there is less; how many bytes of it
  /// are output.
  std::size_t copy_window(Window& window) const;
  /// At a block's end: from here on what refers to that window is noted in `needed`, until the next call of
  /// this or of start(). `needed` stays as long; null: nothing is noted.
  void note_needed(NeededBytes* needed);

 private:
  enum class State {
    kBlockHeader,
    kStoredLength,
    kStored,
    kCodeCounts,
    kLengthCodes,
    kCodeLengths,
    kCodes,
    kBlockEnd,
    kDamaged,
  };
  enum class Next { kGoOn, kInput, kRoom, kBlockEnd, kDamaged };

  /// Output is decoded up to here: one symbol more, and what a copy writes too much, have room behind it.
  static constexpr std::size_t kRoomEnd = kWindowBytes + (std::size_t{64} << 10U);
  static constexpr std::size_t kSlackBytes = 320;

  std::size_t give_out(std::span<std::byte> out);
  void make_room();
  Next decode();
  Next go_on();
  bool fill(unsigned bit_count);
  void fill_up();
  unsigned take(unsigned bit_count);
  Next damaged(const char* what);

  Next read_block_header();
  Next read_stored_length();
  Next copy_stored();
  Next read_code_counts();
  Next read_length_codes();
  Next read_code_lengths();
  Next build_codes();
  void use_fixed_codes();
  Next decode_codes();
  Next decode_most_codes();
  Next decode_one_code();
  void note(std::size_t from, std::size_t length);

  const std::uint8_t* in_ = nullptr;  // of the step's input
  const std::uint8_t* in_end_ = nullptr;
  std::size_t taken_bytes_ = 0;
  std::uint64_t bits_ = 0;  // the next ones, from the lowest on; zeroes above
  unsigned bit_count_ = 0;

  State state_ = State::kBlockHeader;
  bool is_last_ = false;
  bool has_fixed_codes_ = false;
  const char* damage_ = nullptr;
  unsigned stored_bytes_ = 0;  // left of a stored block
  unsigned literal_codes_ = 0;
  unsigned distance_codes_ = 0;
  unsigned length_codes_ = 0;  // of them, how many there are
  unsigned lengths_read_ = 0;
  std::array<std::uint8_t, 288 + 32> lengths_{};

  HuffmanTable<7, 19> length_table_;
  HuffmanTable<11, 288> literal_table_;
  HuffmanTable<8, 32> distance_table_;

  // Of window_: output lies in [begin_, end_), at most kWindowBytes of which are given out again; from given_
  // on it is still to be given out.
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t given_ = 0;
  std::size_t noted_below_ = 0;  // what is copied from before here is noted
  NeededBytes* needed_ = nullptr;
  std::array<std::uint8_t, kRoomEnd + kSlackBytes> window_;
};

}  // namespace layerboot::layer
