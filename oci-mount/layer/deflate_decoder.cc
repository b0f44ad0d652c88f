#include "oci-mount/layer/deflate_decoder.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace layerboot::layer {

namespace {

constexpr unsigned kMostBits = 64;
constexpr std::size_t kMaxMatch = 258;
constexpr unsigned kEndOfBlock = 256;
constexpr unsigned kMaxLiteralCodes = 286;
constexpr unsigned kMaxDistanceCodes = 30;
/// What a copy moves at once, and so may write too much.
constexpr std::size_t kCopyBytes = 16;
/// Of input, for which decode_most_codes() looks nowhere else: a refill reads eight, and there are two in a
/// turn.
constexpr std::ptrdiff_t kMostInput = 16;
constexpr std::size_t kMostLiterals = 3;  // of a turn

/// RFC 1951, 3.2.5: codes 257 to 285, with lengths from 3 on.
constexpr std::array<std::uint8_t, 29> kLengthExtraBits{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                                        2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr unsigned kFirstLengthCode = 257;

constexpr std::array<HuffmanEntry, 288> literal_meanings() {
  std::array<HuffmanEntry, 288> meanings{};
  for (unsigned i = 0; i < kEndOfBlock; ++i) meanings[i] = HuffmanEntry(HuffmanEntry::kLiteral, 0, i);
  meanings[kEndOfBlock] = HuffmanEntry(HuffmanEntry::kEnd, 0, 0);
  unsigned length = 3;
  for (unsigned i = 0; i < kLengthExtraBits.size(); ++i) {
    const bool is_longest = i + 1 == kLengthExtraBits.size();
    meanings[kFirstLengthCode + i] =
        HuffmanEntry(0, kLengthExtraBits[i], is_longest ? unsigned{kMaxMatch} : length);
    length += 1U << kLengthExtraBits[i];
  }
  // Of the fixed code alone.
  for (unsigned i = kMaxLiteralCodes; i < meanings.size(); ++i)
    meanings[i] = HuffmanEntry(HuffmanEntry::kBad, 0, 0);
  return meanings;
}
constexpr auto kLiteralMeanings = literal_meanings();

constexpr std::array<HuffmanEntry, 32> distance_meanings() {
  std::array<HuffmanEntry, 32> meanings{};
  unsigned distance = 1;
  for (unsigned i = 0; i < kMaxDistanceCodes; ++i) {
    const unsigned extra_bits = i < 4 ? 0 : i / 2 - 1;
    meanings[i] = HuffmanEntry(0, extra_bits, distance);
    distance += 1U << extra_bits;
  }
  for (unsigned i = kMaxDistanceCodes; i < meanings.size(); ++i)
    meanings[i] = HuffmanEntry(HuffmanEntry::kBad, 0, 0);
  return meanings;
}
constexpr auto kDistanceMeanings = distance_meanings();

/// RFC 1951, 3.2.7: in the order in which their lengths come.
constexpr std::array<std::uint8_t, 19> kLengthCodeOrder{16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                        11, 4,  12, 3, 13, 2, 14, 1, 15};
constexpr unsigned kRepeatLast = 16;
constexpr unsigned kRepeatZero = 17;
constexpr unsigned kRepeatZeroLong = 18;

constexpr std::array<HuffmanEntry, 19> length_meanings() {
  std::array<HuffmanEntry, 19> meanings{};
  for (unsigned i = 0; i < meanings.size(); ++i) {
    const unsigned extra_bits = i == kRepeatLast ? 2 : i == kRepeatZero ? 3 : i == kRepeatZeroLong ? 7 : 0;
    meanings[i] = HuffmanEntry(0, extra_bits, i);
  }
  return meanings;
}
constexpr auto kLengthMeanings = length_meanings();

constexpr std::uint64_t low_bits(std::uint64_t bits, unsigned count) {
  return bits & ((std::uint64_t{1} << count) - 1);
}

std::uint64_t load_little_endian(const std::uint8_t* from) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, from, sizeof(bits));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  bits = __builtin_bswap64(bits);
#endif
  return bits;
}

template <std::size_t PieceBytes>
void copy_in_pieces(std::uint8_t* to, const std::uint8_t* from, std::size_t length) {
  for (std::size_t done = 0; done < length; done += PieceBytes)
    std::memcpy(to + done, from + done, PieceBytes);
}

/// May write kCopyBytes - 1 too many.
void copy_overlapping(std::uint8_t* to, std::size_t distance, std::size_t length) {
  const std::uint8_t* from = to - distance;
  if (distance >= kCopyBytes) {
    copy_in_pieces<kCopyBytes>(to, from, length);
  } else if (distance >= kCopyBytes / 2) {
    copy_in_pieces<kCopyBytes / 2>(to, from, length);
  } else if (distance == 1) {
    std::memset(to, *from, length);
  } else {
    for (std::size_t i = 0; i < length; ++i) to[i] = from[i];
  }
}

}  // namespace

DeflateDecoder::DeflateDecoder() = default;

void DeflateDecoder::start() {
  state_ = State::kBlockHeader;
  bits_ = 0;
  bit_count_ = 0;
  begin_ = end_ = given_ = 0;
  note_needed(nullptr);
}

void DeflateDecoder::start(const Window& window) {
  start();
  std::memcpy(window_.data(), window.data(), kWindowBytes);
  end_ = given_ = kWindowBytes;
}

void DeflateDecoder::prime(unsigned bits, unsigned bit_count) {
  bits_ = low_bits(bits, bit_count);
  bit_count_ = bit_count;
}

std::size_t DeflateDecoder::copy_window(Window& window) const {
  const std::size_t known = std::min(kWindowBytes, end_ - begin_);
  std::memset(window.data(), 0, kWindowBytes - known);
  std::memcpy(window.data() + (kWindowBytes - known), window_.data() + (end_ - known), known);
  return known;
}

void DeflateDecoder::note_needed(NeededBytes* needed) {
  needed_ = needed;
  noted_below_ = needed != nullptr ? end_ : 0;
}

Result<DeflateDecoder::Step> DeflateDecoder::step(std::span<const std::byte> in, std::span<std::byte> out) {
  in_ = reinterpret_cast<const std::uint8_t*>(in.data());
  in_end_ = in_ + in.size();
  Step step;
  for (Next next = Next::kRoom; next == Next::kRoom;) {
    if (given_ == end_) next = decode();
    step.produced += give_out(out.subspan(step.produced));
    taken_bytes_ = in.size() - static_cast<std::size_t>(in_end_ - in_);
    if (given_ != end_) break;
    if (next == Next::kDamaged) return fail(EBADMSG, damage_);
    if (state_ == State::kBlockEnd) {
      state_ = State::kBlockHeader;
      step.stop = is_last_ ? Stop::kStreamEnd : Stop::kBlockEnd;
      break;
    }
  }
  step.consumed = taken_bytes_;
  return step;
}

std::size_t DeflateDecoder::give_out(std::span<std::byte> out) {
  const std::size_t size = std::min(out.size(), end_ - given_);
  if (size != 0) std::memcpy(out.data(), window_.data() + given_, size);
  given_ += size;
  return size;
}

/// REQUIRES: all is given out.
void DeflateDecoder::make_room() {
  const std::size_t shift = end_ - kWindowBytes;
  std::memmove(window_.data(), window_.data() + shift, kWindowBytes);
  begin_ -= std::min(begin_, shift);
  noted_below_ -= std::min(noted_below_, shift);
  end_ = given_ = kWindowBytes;
}

DeflateDecoder::Next DeflateDecoder::decode() {
  if (end_ >= kRoomEnd) make_room();
  Next next = Next::kGoOn;
  while (next == Next::kGoOn) next = go_on();
  return next;
}

DeflateDecoder::Next DeflateDecoder::go_on() {
  switch (state_) {
    case State::kBlockHeader:
      return read_block_header();
    case State::kStoredLength:
      return read_stored_length();
    case State::kStored:
      return copy_stored();
    case State::kCodeCounts:
      return read_code_counts();
    case State::kLengthCodes:
      return read_length_codes();
    case State::kCodeLengths:
      return read_code_lengths();
    case State::kCodes:
      return decode_codes();
    case State::kBlockEnd:
      return Next::kBlockEnd;
    case State::kDamaged:
      break;
  }
  return Next::kDamaged;
}

// ---- bits

void DeflateDecoder::fill_up() {
  while (bit_count_ < kMostBits - 8 && in_ != in_end_) {
    bits_ |= std::uint64_t{*in_++} << bit_count_;
    bit_count_ += 8;
  }
}

bool DeflateDecoder::fill(unsigned bit_count) {
  if (bit_count_ < bit_count) fill_up();
  return bit_count_ >= bit_count;
}

/// REQUIRES: they are there.
unsigned DeflateDecoder::take(unsigned bit_count) {
  const auto taken = static_cast<unsigned>(low_bits(bits_, bit_count));
  bits_ >>= bit_count;
  bit_count_ -= bit_count;
  return taken;
}

// ---- what comes before a block's data

DeflateDecoder::Next DeflateDecoder::damaged(const char* what) {
  damage_ = what;
  state_ = State::kDamaged;
  return Next::kDamaged;
}

DeflateDecoder::Next DeflateDecoder::read_block_header() {
  if (!fill(3)) return Next::kInput;
  is_last_ = take(1) != 0;
  switch (take(2)) {
    case 0:
      take(bit_count_ % 8);
      state_ = State::kStoredLength;
      return Next::kGoOn;
    case 1:
      use_fixed_codes();
      state_ = State::kCodes;
      return Next::kGoOn;
    case 2:
      state_ = State::kCodeCounts;
      return Next::kGoOn;
    default:
      return damaged("invalid block type");
  }
}

DeflateDecoder::Next DeflateDecoder::read_stored_length() {
  if (!fill(32)) return Next::kInput;
  stored_bytes_ = take(16);
  if (take(16) != (stored_bytes_ ^ 0xffffU)) return damaged("invalid stored block lengths");
  state_ = State::kStored;
  return Next::kGoOn;
}

DeflateDecoder::Next DeflateDecoder::copy_stored() {
  while (stored_bytes_ > 0) {
    if (end_ >= kRoomEnd) return Next::kRoom;
    if (bit_count_ > 0) {
      window_[end_++] = static_cast<std::uint8_t>(take(8));
      --stored_bytes_;
      continue;
    }
    const auto there = static_cast<std::size_t>(in_end_ - in_);
    const std::size_t size = std::min({std::size_t{stored_bytes_}, there, kRoomEnd - end_});
    if (size == 0) return Next::kInput;
    std::memcpy(window_.data() + end_, in_, size);
    in_ += size;
    end_ += size;
    stored_bytes_ -= static_cast<unsigned>(size);
  }
  state_ = State::kBlockEnd;
  return Next::kBlockEnd;
}

DeflateDecoder::Next DeflateDecoder::read_code_counts() {
  if (!fill(14)) return Next::kInput;
  literal_codes_ = 257 + take(5);
  distance_codes_ = 1 + take(5);
  length_codes_ = 4 + take(4);
  if (literal_codes_ > kMaxLiteralCodes || distance_codes_ > kMaxDistanceCodes)
    return damaged("too many length or distance symbols");
  lengths_.fill(0);
  lengths_read_ = 0;
  state_ = State::kLengthCodes;
  return Next::kGoOn;
}

DeflateDecoder::Next DeflateDecoder::read_length_codes() {
  for (; lengths_read_ < length_codes_; ++lengths_read_) {
    if (!fill(3)) return Next::kInput;
    lengths_[kLengthCodeOrder[lengths_read_]] = static_cast<std::uint8_t>(take(3));
  }
  const auto lengths = std::span(lengths_).first(kLengthCodeOrder.size());
  const auto coded = lengths.size() - static_cast<std::size_t>(std::ranges::count(lengths, 0));
  // Of one code alone, half of what may come would mean nothing. Of none at all, every bit is a length of 0
  // to zlib, and the end of a block is missing.
  if (coded == 1 || !length_table_.build(lengths, kLengthMeanings))
    return damaged("invalid code lengths set");
  lengths_read_ = 0;
  state_ = State::kCodeLengths;
  return Next::kGoOn;
}

DeflateDecoder::Next DeflateDecoder::read_code_lengths() {
  const unsigned wanted = literal_codes_ + distance_codes_;
  while (lengths_read_ < wanted) {
    fill_up();
    const HuffmanEntry entry = length_table_.find(bits_);
    if (entry.bits() + entry.extra_bits() > bit_count_) return Next::kInput;
    take(entry.bits());
    const unsigned more = take(entry.extra_bits());
    std::uint8_t length = 0;
    unsigned times = 1;
    if (entry.value() < kRepeatLast) {
      length = static_cast<std::uint8_t>(entry.value());
    } else if (entry.value() == kRepeatLast) {
      if (lengths_read_ == 0) return damaged("invalid bit length repeat");
      length = lengths_[lengths_read_ - 1];
      times = 3 + more;
    } else {
      times = (entry.value() == kRepeatZero ? 3 : 11) + more;
    }
    if (times > wanted - lengths_read_) return damaged("invalid bit length repeat");
    std::fill_n(lengths_.begin() + lengths_read_, times, length);
    lengths_read_ += times;
  }
  return build_codes();
}

DeflateDecoder::Next DeflateDecoder::build_codes() {
  const auto lengths = std::span(lengths_).first(literal_codes_ + distance_codes_);
  has_fixed_codes_ = false;
  if (lengths[kEndOfBlock] == 0) return damaged("invalid code -- missing end-of-block");
  if (!literal_table_.build(lengths.first(literal_codes_), kLiteralMeanings))
    return damaged("invalid literal/lengths set");
  if (!distance_table_.build(lengths.last(distance_codes_), kDistanceMeanings))
    return damaged("invalid distances set");
  state_ = State::kCodes;
  return Next::kGoOn;
}

/// RFC 1951, 3.2.6.
void DeflateDecoder::use_fixed_codes() {
  if (std::exchange(has_fixed_codes_, true)) return;
  std::array<std::uint8_t, kLiteralMeanings.size()> literals{};
  std::fill(literals.begin(), literals.begin() + 144, std::uint8_t{8});
  std::fill(literals.begin() + 144, literals.begin() + 256, std::uint8_t{9});
  std::fill(literals.begin() + 256, literals.begin() + 280, std::uint8_t{7});
  std::fill(literals.begin() + 280, literals.end(), std::uint8_t{8});
  std::array<std::uint8_t, kDistanceMeanings.size()> distances{};
  distances.fill(5);
  static_cast<void>(literal_table_.build(literals, kLiteralMeanings));
  static_cast<void>(distance_table_.build(distances, kDistanceMeanings));
}

// ---- a block's data

DeflateDecoder::Next DeflateDecoder::decode_codes() {
  for (Next next = Next::kGoOn; next == Next::kGoOn;) {
    next = decode_most_codes();
    if (next != Next::kGoOn) return next;
    if (end_ >= kRoomEnd) return Next::kRoom;
    next = decode_one_code();
    if (next != Next::kGoOn) return next;
  }
  return Next::kGoOn;
}

/// A symbol whose bits are not all there is begun anew with more of them: zeroes stand for those meanwhile,
/// and what they seem to say counts for nothing.
DeflateDecoder::Next DeflateDecoder::decode_one_code() {
  fill_up();
  std::uint64_t bits = bits_;
  unsigned left = bit_count_;
  const auto drop = [&bits, &left](unsigned count) {
    if (count > left) return false;
    bits >>= count;
    left -= count;
    return true;
  };
  HuffmanEntry entry = literal_table_.find(bits);
  if (!drop(entry.bits())) return Next::kInput;
  if (entry.is(HuffmanEntry::kLong)) {
    entry = literal_table_.find_long(entry, bits);
    if (!drop(entry.bits())) return Next::kInput;
  }
  if (entry.is(HuffmanEntry::kBad)) return damaged("invalid literal/length code");
  std::size_t length = 0;
  std::size_t distance = 0;
  if (!entry.is(HuffmanEntry::kLiteral | HuffmanEntry::kEnd)) {
    length = entry.value() + low_bits(bits, entry.extra_bits());
    if (!drop(entry.extra_bits())) return Next::kInput;
    HuffmanEntry far = distance_table_.find(bits);
    if (!drop(far.bits())) return Next::kInput;
    if (far.is(HuffmanEntry::kLong)) {
      far = distance_table_.find_long(far, bits);
      if (!drop(far.bits())) return Next::kInput;
    }
    if (far.is(HuffmanEntry::kBad)) return damaged("invalid distance code");
    distance = far.value() + low_bits(bits, far.extra_bits());
    if (!drop(far.extra_bits())) return Next::kInput;
    if (distance > end_ - begin_) return damaged("invalid distance too far back");
  }
  bits_ = bits;
  bit_count_ = left;
  if (entry.is(HuffmanEntry::kEnd)) {
    state_ = State::kBlockEnd;
    return Next::kBlockEnd;
  }
  if (entry.is(HuffmanEntry::kLiteral)) {
    window_[end_++] = static_cast<std::uint8_t>(entry.value());
    return Next::kGoOn;
  }
  note(end_ - distance, length);
  copy_overlapping(window_.data() + end_, distance, length);
  end_ += length;
  return Next::kGoOn;
}

/// That a copy reads from there.
void DeflateDecoder::note(std::size_t from, std::size_t length) {
  if (from >= noted_below_) return;
  const std::size_t before = noted_below_ - from;
  std::fill_n(needed_->end() - static_cast<std::ptrdiff_t>(before), std::min(length, before),
              std::uint8_t{1});
}

/// The same as decode_one_code() again and again, where neither input nor room can end: what it works with is
/// in registers, and it looks for neither. Stops short of both, of a block's end, and of what is damaged.
DeflateDecoder::Next DeflateDecoder::decode_most_codes() {
  std::uint64_t bits = bits_;
  unsigned count = bit_count_;
  const std::uint8_t* in = in_;
  std::uint8_t* const window = window_.data();
  std::size_t end = end_;
  // At least 56 are there then. Those above `count` are right as well, and come again with the next refill.
  const auto refill = [&] {
    bits |= load_little_endian(in) << count;
    in += (kMostBits - 1 - count) / 8;
    count |= kMostBits - 8;
  };
  const auto drop = [&](unsigned dropped) {
    bits >>= dropped;
    count -= dropped;
  };
  while (in_end_ - in >= kMostInput && end < kRoomEnd) {
    refill();
    HuffmanEntry entry = literal_table_.find(bits);
    for (std::size_t i = 0; i < kMostLiterals && entry.is(HuffmanEntry::kLiteral); ++i) {
      window[end++] = static_cast<std::uint8_t>(entry.value());
      drop(entry.bits());
      entry = literal_table_.find(bits);
    }
    if (entry.is(HuffmanEntry::kLiteral)) continue;
    // Literals of one lookup have 11 bits at most: 23 are left, and 15 and 5 are needed.
    const std::uint64_t bits_before = bits;
    const unsigned count_before = count;
    if (entry.is(HuffmanEntry::kLong)) {
      drop(entry.bits());
      entry = literal_table_.find_long(entry, bits);
    }
    drop(entry.bits());
    if (entry.is(HuffmanEntry::kLiteral)) {
      window[end++] = static_cast<std::uint8_t>(entry.value());
      continue;
    }
    const std::size_t length = entry.value() + low_bits(bits, entry.extra_bits());
    drop(entry.extra_bits());
    const std::uint8_t* const in_before = in;
    refill();
    HuffmanEntry far = distance_table_.find(bits);
    if (far.is(HuffmanEntry::kLong)) {
      drop(far.bits());
      far = distance_table_.find_long(far, bits);
    }
    drop(far.bits());
    const std::size_t distance = far.value() + low_bits(bits, far.extra_bits());
    drop(far.extra_bits());
    if (entry.is(HuffmanEntry::kEnd | HuffmanEntry::kBad) || far.is(HuffmanEntry::kBad) ||
        distance > end - begin_) {
      bits = bits_before;
      count = count_before;
      in = in_before;
      break;
    }
    note(end - distance, length);
    copy_overlapping(window + end, distance, length);
    end += length;
  }
  bits_ = low_bits(bits, count);
  bit_count_ = count;
  in_ = in;
  end_ = end;
  return Next::kGoOn;
}

}  // namespace layerboot::layer
