#include "oci-mount/layer/plain_scanner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/checked_spans.h"
#include "oci-mount/layer/limits.h"
#include "tests/support/image_builder.h"

namespace layerboot::layer {
namespace {

PlainScanner scan(std::span<const std::byte> tar, std::size_t piece_bytes) {
  auto scanner = *PlainScanner::create();
  for (std::size_t at = 0; at < tar.size(); at += piece_bytes)
    EXPECT_TRUE(scanner.push(tar.subspan(at, std::min(piece_bytes, tar.size() - at))));
  EXPECT_TRUE(scanner.finish());
  return scanner;
}

Result<CheckpointTable> table_of(const PlainScanner& scanner, std::uint64_t size_bytes) {
  return CheckpointTable::parse(scanner.checkpoints().records(), {}, size_bytes, size_bytes);
}

TEST(PlainScannerTest, SpansLieOnAGridHoweverTheBytesCome) {
  for (const std::uint64_t size_bytes :
       {std::uint64_t{1}, kPlainSpanBytes - 1, kPlainSpanBytes, kPlainSpanBytes + 1, 3 * kPlainSpanBytes}) {
    SCOPED_TRACE(size_bytes);
    const std::string tar = test::sample_bytes(size_bytes, 5);
    for (const std::size_t piece_bytes : {std::size_t{10'007}, std::size_t{kPlainSpanBytes}, tar.size()}) {
      const PlainScanner scanner = scan(as_bytes(tar), piece_bytes);
      const auto table = table_of(scanner, size_bytes);
      ASSERT_TRUE(table) << table.error().text;
      EXPECT_TRUE(table->is_plain());
      ASSERT_EQ(table->span_count(), (size_bytes + kPlainSpanBytes - 1) / kPlainSpanBytes);
      for (std::uint32_t i = 0; i < table->span_count(); ++i) {
        const SpanInfo span = table->span(i);
        const auto bytes = as_bytes(tar).subspan(span.stream_offset, span.size_bytes);
        EXPECT_EQ(span.blob_offset, span.stream_offset);
        EXPECT_TRUE(check_span(span, bytes));
        EXPECT_FALSE(check_span(span, bytes.first(bytes.size() - 1)));
      }
    }
  }
}

TEST(PlainScannerTest, OfNothingThereIsNoSpan) {
  const PlainScanner scanner = scan({}, 1);
  const auto table = table_of(scanner, 0);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->span_count(), 0U);
  EXPECT_TRUE(table->is_plain());
}

TEST(PlainScannerTest, AnyOtherTableIsNoPlainOne) {
  const PlainScanner scanner = scan(as_bytes(test::sample_bytes(3 * kPlainSpanBytes, 5)), 4096);
  const auto records = scanner.checkpoints().records();
  const auto is_plain_with = [&](auto change) {
    std::vector<CheckpointRecord> changed(records.begin(), records.end());
    change(changed);
    const auto table = CheckpointTable::parse(changed, {}, 4 * kPlainSpanBytes, 3 * kPlainSpanBytes);
    return table && table->is_plain();
  };
  EXPECT_TRUE(is_plain_with([](auto&) {}));
  EXPECT_FALSE(is_plain_with([](auto& all) { all[1].stream_offset += 8; }));
  EXPECT_FALSE(is_plain_with([](auto& all) { all[1].blob_bit_offset += 8; }));
  EXPECT_FALSE(is_plain_with([](auto& all) { all[1].flags = kCheckpointZstdFrame; }));
  EXPECT_FALSE(is_plain_with([](auto& all) { all.erase(all.begin() + 1); }));
}

TEST(CheckedSpansTest, KnowsWhatWasChecked) {
  constexpr std::uint32_t kSpans = 130;
  CheckedSpans checked(kSpans);
  constexpr std::uint64_t kFrom = 63 * kPlainSpanBytes + 5;
  constexpr std::uint64_t kTo = 65 * kPlainSpanBytes + 1;  // a byte of the third
  EXPECT_EQ(checked.first_unchecked(kFrom, kTo), 63U);
  checked.set_checked(63);
  EXPECT_EQ(checked.first_unchecked(kFrom, kTo), 64U);
  EXPECT_TRUE(checked.are_checked(kFrom, 64 * kPlainSpanBytes));
  EXPECT_FALSE(checked.are_checked(kFrom, 64 * kPlainSpanBytes + 1));
  checked.set_checked(64);
  EXPECT_FALSE(checked.are_checked(kFrom, kTo));
  checked.set_checked(65);
  EXPECT_TRUE(checked.are_checked(kFrom, kTo));
  EXPECT_FALSE(checked.are_checked(kFrom - kPlainSpanBytes, kTo));
  EXPECT_TRUE(checked.are_checked(7, 7)) << "nothing";
  EXPECT_TRUE(CheckedSpans(0).are_checked(0, 1 << 30)) << "where there is nothing to check by";
}

}  // namespace
}  // namespace layerboot::layer
