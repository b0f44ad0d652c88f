#include "oci-mount/layer/checkpoint_table.h"

#include <gtest/gtest.h>

#include "oci-mount/layer/limits.h"

namespace layerboot::layer {
namespace {

std::vector<CheckpointRecord> good_records() {
  return {{0, 0, 11, 0, 0, kCheckpointMemberStart}, {1000, 3203, 22, 0, 40, 0}, {2500, 8000, 0, 40, 0, 0}};
}

constexpr std::uint64_t kBlobBytes = 1000;
constexpr std::uint64_t kStreamBytes = 2500;

Result<CheckpointTable> parse(const std::vector<CheckpointRecord>& records,
                              std::uint64_t blob_bytes = kBlobBytes,
                              std::uint64_t stream_bytes = kStreamBytes) {
  static const std::vector<std::byte> windows(40);
  return CheckpointTable::parse(records, windows, blob_bytes, stream_bytes);
}

TEST(CheckpointTable, GivesSpans) {
  const auto records = good_records();
  const auto table = parse(records);
  ASSERT_TRUE(table) << table.error().text;
  ASSERT_EQ(table->span_count(), 2U);
  const SpanInfo first = table->span(0);
  EXPECT_TRUE(first.member_start);
  EXPECT_EQ(first.blob_offset, 0U);
  EXPECT_EQ(first.blob_bytes, 401U) << "with the byte that holds the last bits";
  EXPECT_EQ(first.hash, 11U);
  EXPECT_TRUE(first.packed_window.empty());
  const SpanInfo second = table->span(1);
  EXPECT_EQ(second.stream_offset, 1000U);
  EXPECT_EQ(second.size_bytes, 1500U);
  EXPECT_EQ(second.blob_offset, 400U);
  EXPECT_EQ(second.first_bit, 3U);
  EXPECT_EQ(second.blob_bytes, 600U);
  EXPECT_EQ(second.packed_window.size(), 40U);
}

TEST(CheckpointTable, FindsTheSpanOfAnOffset) {
  const auto records = good_records();
  const auto table = parse(records);
  EXPECT_EQ(table->find(0), 0U);
  EXPECT_EQ(table->find(999), 0U);
  EXPECT_EQ(table->find(1000), 1U);
  EXPECT_EQ(table->find(2499), 1U);
}

TEST(CheckpointTable, AnEmptyStreamHasNone) {
  EXPECT_EQ(parse({}, 10, 0)->span_count(), 0U);
  EXPECT_FALSE(parse({}, 10, 1));
}

TEST(CheckpointTable, RefusesWhatDoesNotFit) {
  const auto refused = [](auto change) {
    auto records = good_records();
    change(records);
    return !parse(records);
  };
  EXPECT_TRUE(refused([](auto& r) { r.resize(1); }));
  EXPECT_TRUE(refused([](auto& r) { r[0].stream_offset = 1; }));
  EXPECT_TRUE(refused([](auto& r) { r[1].stream_offset = 0; })) << "an empty span";
  EXPECT_TRUE(refused([](auto& r) { r[1].stream_offset = 2600; })) << "out of order";
  EXPECT_TRUE(refused([](auto& r) { r[2].stream_offset = 2400; })) << "not the stream's end";
  EXPECT_TRUE(refused([](auto& r) { r[2].blob_bit_offset = 8001; })) << "beyond the blob";
  EXPECT_TRUE(refused([](auto& r) { r[1].blob_bit_offset = 8000; }));
  EXPECT_TRUE(refused([](auto& r) { r[1].window_offset = 1; })) << "a window beyond the windows";
  EXPECT_TRUE(refused([](auto& r) { r[1].window_packed_bytes = 41; }));
  EXPECT_TRUE(refused([](auto& r) { r[1].flags = 0x8000; })) << "a flag of a later version";
  auto wide = good_records();
  wide[2].stream_offset = 1000 + kMaxSpanBytes + 1;
  EXPECT_FALSE(parse(wide, kBlobBytes, wide[2].stream_offset)) << "a span over the limit";
}

TEST(CheckpointTableBuilder, BoundsSpans) {
  CheckpointTableBuilder builder;
  ASSERT_TRUE(builder.add(0, 0, true, {}));
  const auto wide = builder.add(kMaxSpanBytes + 1, 80, false, {});
  ASSERT_FALSE(wide);
  EXPECT_NE(wide.error().text.find("limit of 33554432"), std::string::npos);
  EXPECT_FALSE(builder.add(1, (kMaxSpanBlobBytes + 1) * 8, false, {}));
}

TEST(Window, PacksAndUnpacks) {
  Window window;
  for (std::size_t i = 0; i < window.size(); ++i) window[i] = static_cast<std::byte>(i * i >> 3U);
  const auto packed = pack_window(window);
  ASSERT_TRUE(packed);
  Window back;
  ASSERT_TRUE(unpack_window(*packed, back));
  EXPECT_EQ(back, window);
  EXPECT_FALSE(unpack_window(std::span(*packed).first(packed->size() / 2), back));
  EXPECT_FALSE(unpack_window({}, back));
}

}  // namespace
}  // namespace layerboot::layer
