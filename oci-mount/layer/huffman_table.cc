#include "oci-mount/layer/huffman_table.h"

#include <algorithm>

namespace layerboot::layer {

namespace {

using CodesByBits = std::array<std::uint16_t, kMaxCodeBits + 1>;

/// Deflate gives a code from its first bit on, and packs bits from the lowest on.
unsigned reversed(unsigned code, unsigned bits) {
  unsigned out = 0;
  for (unsigned i = 0; i < bits; ++i) out |= (code >> i & 1U) << (bits - 1 - i);
  return out;
}

/// How much of all bits codes leave out, in codes of kMaxCodeBits; below 0 where they overlap.
int left_out(const CodesByBits& counts) {
  int left = 1;
  for (unsigned bits = 1; bits <= kMaxCodeBits; ++bits) {
    left = left * 2 - counts[bits];
    if (left < 0) return left;
  }
  return left;
}

/// RFC 1951, 3.2.2: of the codes of one length the first.
CodesByBits first_codes(const CodesByBits& counts) {
  CodesByBits first{};
  unsigned code = 0;
  for (unsigned bits = 1; bits <= kMaxCodeBits; ++bits) {
    code = (code + (bits == 1 ? 0U : counts[bits - 1])) << 1U;
    first[bits] = static_cast<std::uint16_t>(code);
  }
  return first;
}

/// For each symbol that has a code: `visit(symbol, bits, reversed code)`.
template <typename Visit>
void each_code(std::span<const std::uint8_t> lengths, const CodesByBits& counts, Visit visit) {
  CodesByBits next = first_codes(counts);
  for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol) {
    const unsigned bits = lengths[symbol];
    if (bits != 0) visit(symbol, bits, reversed(next[bits]++, bits));
  }
}

/// Every `step`th entry from the code on.
void put(std::span<HuffmanEntry> table, std::size_t code, std::size_t step, HuffmanEntry entry) {
  for (std::size_t at = code; at < table.size(); at += step) table[at] = entry;
}

}  // namespace

bool build_huffman_table(std::span<const std::uint8_t> lengths, std::span<const HuffmanEntry> meanings,
                         unsigned root_bits, std::span<HuffmanEntry> entries) {
  CodesByBits counts{};
  for (const std::uint8_t bits : lengths) ++counts[bits];
  counts[0] = 0;
  const auto last = std::find_if(counts.rbegin(), counts.rend(), [](auto count) { return count != 0; });
  const auto longest = static_cast<unsigned>(counts.rend() - last) - (last == counts.rend() ? 0 : 1);
  const int left = left_out(counts);
  if (left < 0 || (left > 0 && longest > 1)) return false;
  const std::size_t root_entries = std::size_t{1} << root_bits;
  const auto root = entries.first(root_entries);
  if (left > 0) std::ranges::fill(root, HuffmanEntry(HuffmanEntry::kBad, 0, 0).coded(1));

  // What the longest code of each second table has more than root_bits.
  std::array<std::uint8_t, std::size_t{1} << kMaxCodeBits> long_bits;
  if (longest > root_bits) {
    std::fill_n(long_bits.begin(), root_entries, std::uint8_t{0});
    each_code(lengths, counts, [&](std::size_t, unsigned bits, unsigned code) {
      if (bits <= root_bits) return;
      auto& most = long_bits[code & (root_entries - 1)];
      most = std::max(most, static_cast<std::uint8_t>(bits - root_bits));
    });
    std::size_t end = root_entries;
    for (std::size_t i = 0; i < root_entries; ++i) {
      if (long_bits[i] == 0) continue;
      root[i] = HuffmanEntry(HuffmanEntry::kLong, long_bits[i], static_cast<unsigned>(end)).coded(root_bits);
      end += std::size_t{1} << long_bits[i];
    }
  }
  each_code(lengths, counts, [&](std::size_t symbol, unsigned bits, unsigned code) {
    if (bits <= root_bits) return put(root, code, std::size_t{1} << bits, meanings[symbol].coded(bits));
    const HuffmanEntry first = root[code & (root_entries - 1)];
    const auto table = entries.subspan(first.value(), std::size_t{1} << first.extra_bits());
    const unsigned rest = bits - root_bits;
    put(table, code >> root_bits, std::size_t{1} << rest, meanings[symbol].coded(rest));
  });
  return true;
}

}  // namespace layerboot::layer
