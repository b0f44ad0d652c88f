// The tables by which deflate's codes are read (RFC 1951, 3.2.2): one lookup for most codes, two for long
// ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace layerboot::layer {

inline constexpr unsigned kMaxCodeBits = 15;

/// What the next bits mean: how many bits the code has, how many extra bits follow it, flags, and a value.
class HuffmanEntry {
 public:
  enum Flag : std::uint32_t {
    kBad = 1U << 12U,      // no code begins so
    kLong = 1U << 13U,     // `value` is where a second table begins, which takes `extra_bits`
    kEnd = 1U << 14U,      // of the block
    kLiteral = 1U << 15U,  // `value` is a byte
  };

  constexpr HuffmanEntry() = default;
  constexpr HuffmanEntry(std::uint32_t flags, unsigned extra_bits, unsigned value)
      : word_(value << 16U | flags | extra_bits << 8U) {}
  /// The same with a code of so many bits.
  [[nodiscard]] constexpr HuffmanEntry coded(unsigned bits) const {
    HuffmanEntry entry = *this;
    entry.word_ |= bits;
    return entry;
  }

  [[nodiscard]] constexpr bool is(std::uint32_t flags) const { return (word_ & flags) != 0; }
  [[nodiscard]] constexpr unsigned bits() const { return word_ & 0xffU; }
  [[nodiscard]] constexpr unsigned extra_bits() const { return word_ >> 8U & 0xfU; }
  [[nodiscard]] constexpr unsigned value() const { return word_ >> 16U; }

 private:
  std::uint32_t word_ = 0;
};

/// Fills `entries`: 2^root_bits of them, and behind those the second tables. `lengths` are the bits of each
/// symbol's code, 0 where it has none; `meanings` has what each means. False for lengths that are no code:
/// where two codes would begin alike, or some bits begin none. Taken, as zlib takes them, are one code of one
/// bit, and none at all; what begins none is kBad then. REQUIRES: no more lengths than meanings, each at most
/// kMaxCodeBits; `entries` have room (HuffmanTable).
bool build_huffman_table(std::span<const std::uint8_t> lengths, std::span<const HuffmanEntry> meanings,
                         unsigned root_bits, std::span<HuffmanEntry> entries);

/// Of a code of at most `MostSymbols`.
template <unsigned RootBits, std::size_t MostSymbols>
class HuffmanTable {
 public:
  /// See build_huffman_table().
  bool build(std::span<const std::uint8_t> lengths, std::span<const HuffmanEntry> meanings) {
    return build_huffman_table(lengths, meanings, RootBits, entries_);
  }

  /// By the lowest bits of `bits`.
  [[nodiscard]] HuffmanEntry find(std::uint64_t bits) const { return entries_[bits & (kRootEntries - 1)]; }
  /// Of an entry that is kLong, whose bits are taken off.
  [[nodiscard]] HuffmanEntry find_long(HuffmanEntry first, std::uint64_t bits) const {
    return entries_[first.value() + (bits & ((1U << first.extra_bits()) - 1))];
  }

 private:
  static constexpr std::size_t kRootEntries = std::size_t{1} << RootBits;
  // As no bits begin no code where there are long ones, two or more codes share each second table.
  static constexpr std::size_t kLongEntries = (MostSymbols / 2) << (kMaxCodeBits - RootBits);

  std::array<HuffmanEntry, kRootEntries + kLongEntries> entries_{};
};

}  // namespace layerboot::layer
