#include "oci-mount/layer/huffman_table.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace layerboot::layer {
namespace {

using Table = HuffmanTable<4, 288>;

std::vector<HuffmanEntry> numbered(std::size_t count) {
  std::vector<HuffmanEntry> meanings;
  for (unsigned i = 0; i < count; ++i) meanings.emplace_back(0, i % 3, i);
  return meanings;
}

struct Found {
  unsigned value = 0;
  unsigned bits = 0;
};
Found find(const Table& table, std::uint64_t bits) {
  HuffmanEntry entry = table.find(bits);
  unsigned dropped = 0;
  if (entry.is(HuffmanEntry::kLong)) {
    dropped = entry.bits();
    entry = table.find_long(entry, bits >> dropped);
  }
  return entry.is(HuffmanEntry::kBad) ? Found{9999, 0} : Found{entry.value(), dropped + entry.bits()};
}

/// The example of RFC 1951, 3.2.2: lengths 3, 3, 3, 3, 3, 2, 4, 4 have the codes 010, 011, 100, 101, 110, 00,
/// 1110, 1111.
TEST(HuffmanTable, TheExampleOfTheRfc) {
  Table table;
  const auto meanings = numbered(8);
  ASSERT_TRUE(table.build(std::vector<std::uint8_t>{3, 3, 3, 3, 3, 2, 4, 4}, meanings));
  const std::vector<std::string> codes = {"010", "011", "100", "101", "110", "00", "1110", "1111"};
  for (unsigned symbol = 0; symbol < codes.size(); ++symbol) {
    std::uint64_t bits = 0xabcdU << codes[symbol].size();
    for (std::size_t i = 0; i < codes[symbol].size(); ++i)
      bits |= std::uint64_t{codes[symbol][i] == '1'} << i;
    EXPECT_EQ(find(table, bits).value, symbol);
    EXPECT_EQ(find(table, bits).bits, codes[symbol].size());
  }
}

/// A code that leaves nothing out, of any shape.
std::vector<std::uint8_t> random_lengths(std::mt19937& random, std::size_t symbols) {
  std::vector<std::uint8_t> leaves = {1, 1};
  while (leaves.size() < symbols) {
    const std::size_t at = random() % 3 == 0 ? leaves.size() - 1 : random() % leaves.size();
    if (leaves[at] == kMaxCodeBits) continue;
    ++leaves[at];
    leaves.push_back(leaves[at]);
  }
  std::shuffle(leaves.begin(), leaves.end(), random);
  for (std::size_t i = random() % 4; i > 0; --i)
    leaves.insert(leaves.begin() + static_cast<std::ptrdiff_t>(random() % leaves.size()), 0);
  return leaves;
}

TEST(HuffmanTable, EveryCodeOfAnyShapeIsFound) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const auto lengths = random_lengths(random, 2 + random() % 280);
    Table table;
    ASSERT_TRUE(table.build(lengths, numbered(lengths.size())));
    // Codes in the order of their lengths, then of their symbols, follow each other.
    unsigned code = 0;
    for (unsigned bits = 1; bits <= kMaxCodeBits; ++bits, code <<= 1U) {
      for (unsigned symbol = 0; symbol < lengths.size(); ++symbol) {
        if (lengths[symbol] != bits) continue;
        std::uint64_t packed = std::uint64_t{random()} << bits;
        for (unsigned i = 0; i < bits; ++i) packed |= std::uint64_t{code >> (bits - 1 - i) & 1U} << i;
        ASSERT_EQ(find(table, packed).value, symbol);
        ASSERT_EQ(find(table, packed).bits, bits);
        ++code;
      }
    }
  }
}

TEST(HuffmanTable, LengthsThatAreNoCodeAreRefused) {
  Table table;
  const auto builds = [&](const std::vector<std::uint8_t>& lengths) {
    return table.build(lengths, numbered(lengths.size()));
  };
  EXPECT_FALSE(builds({1, 1, 1})) << "too many";
  EXPECT_FALSE(builds({1, 2, 2, 15}));
  EXPECT_FALSE(builds({1, 2})) << "11 begins none";
  EXPECT_FALSE(builds({2}));
  EXPECT_TRUE(builds({0, 1, 0}));
  EXPECT_EQ(find(table, 0).value, 1U);
  EXPECT_EQ(find(table, 1).value, 9999U);
  EXPECT_TRUE(builds({0, 0}));
  EXPECT_EQ(find(table, 0).value, 9999U);
  EXPECT_TRUE(builds({}));
}

}  // namespace
}  // namespace layerboot::layer
