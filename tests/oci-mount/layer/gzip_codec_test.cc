#include "oci-mount/layer/gzip_codec.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/fast_inflate.h"
#include "oci-mount/layer/gzip_scanner.h"
#include "oci-mount/layer/limits.h"
#include "tests/support/built_tables.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

using test::gzip;
using test::sample_bytes;

class StringSink final : public StreamSink {
 public:
  explicit StringSink(std::size_t room_bytes) : room_(room_bytes) {}
  std::span<std::byte> room() override { return room_; }
  Result<void> take(std::size_t size_bytes) override {
    text_ += as_text(std::span<const std::byte>(room_).first(size_bytes));
    return {};
  }
  std::string text_;

 private:
  std::vector<std::byte> room_;
};

struct Scanned {
  std::string text;
  std::vector<CheckpointRecord> records;
  std::vector<std::byte> windows;
};

Result<Scanned> scan(std::string_view blob, std::size_t piece_bytes = 1 << 20,
                     std::size_t room_bytes = 1 << 16) {
  StringSink sink(room_bytes);
  // Declared after the scanner, so that it has ended before that goes.
  std::unique_ptr<GzipScanner> scanner;
  SideThread side;
  LB_ASSIGN(scanner, GzipScanner::create(sink, side));
  for (std::size_t offset = 0; offset < blob.size(); offset += piece_bytes) {
    LB_TRY(scanner->push(as_bytes(blob.substr(offset, piece_bytes))));
  }
  LB_TRY(scanner->finish());
  const auto records = scanner->checkpoints().records();
  EXPECT_EQ(scanner->stream_size_bytes(), sink.text_.size());
  return Scanned{std::move(sink.text_),
                 {records.begin(), records.end()},
                 test::items_of(scanner->checkpoints().windows())};
}

/// The fast decoder must not live on the slow one's help; and the slow one must do without it.
void expect_both_decoders(const SpanInfo& span, std::span<const std::byte> compressed,
                          std::string_view text) {
  Window window;
  GzipStart start{span.blob_offset, span.first_bit, span.member_start, nullptr};
  if (!span.packed_window.empty()) {
    ASSERT_TRUE(unpack_window(span.packed_window, window));
    start.window = &window;
  }
  std::string out(text.size(), '.');
  EXPECT_TRUE(fast_decode_gzip(start, compressed, std::as_writable_bytes(std::span(out))));
  EXPECT_TRUE(out == text) << "ISA-L";
  out.assign(text.size(), '.');
  EXPECT_TRUE(decode_gzip(start, compressed, std::as_writable_bytes(std::span(out))));
  EXPECT_TRUE(out == text) << "zlib";
}

/// The property everything rests on: decoding from each checkpoint gives what decoding from the start gave.
void expect_every_span(std::string_view blob, std::string_view text, const Scanned& scanned) {
  const auto table = CheckpointTable::parse(scanned.records, scanned.windows, blob.size(), text.size());
  ASSERT_TRUE(table) << table.error().text;
  std::uint64_t at = 0;
  for (std::uint32_t i = 0; i < table->span_count(); ++i) {
    const SpanInfo span = table->span(i);
    ASSERT_EQ(span.stream_offset, at);
    std::string out(span.size_bytes, '.');
    const auto done = decode_gzip_span(span, as_bytes(blob.substr(span.blob_offset, span.blob_bytes)),
                                       std::as_writable_bytes(std::span(out)));
    ASSERT_TRUE(done) << "span " << i << ": " << done.error().text;
    ASSERT_EQ(out, text.substr(at, span.size_bytes)) << "span " << i;
    expect_both_decoders(span, as_bytes(blob.substr(span.blob_offset, span.blob_bytes)), out);
    at += span.size_bytes;
  }
  EXPECT_EQ(at, text.size());
}

void expect_round_trip(std::string_view blob, std::string_view text) {
  const auto scanned = scan(blob);
  ASSERT_TRUE(scanned) << scanned.error().text;
  ASSERT_EQ(scanned->text, text);
  expect_every_span(blob, text, *scanned);
}

std::string random_bytes(std::size_t size_bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string out(size_bytes, '.');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

TEST(GzipCodec, EachCheckpointGivesWhatTheStartGives) {
  const std::string text = sample_bytes(3 << 20, 1);
  for (const int level : {1, 6, 9}) expect_round_trip(gzip(text, level), text);
}

TEST(GzipCodec, SpansHaveAboutTheTargetSize) {
  const std::string text = sample_bytes(4 << 20, 2);
  const auto scanned = scan(gzip(text));
  ASSERT_TRUE(scanned);
  EXPECT_GT(scanned->records.size(), 8U);
  for (std::size_t i = 0; i + 2 < scanned->records.size(); ++i) {
    const auto size = scanned->records[i + 1].stream_offset - scanned->records[i].stream_offset;
    EXPECT_GE(size, kSpanTargetBytes);
    EXPECT_LT(size, 2 * kSpanTargetBytes);
  }
}

TEST(GzipCodec, StoredBlocks) {
  const std::string text = random_bytes(1 << 20, 3);
  expect_round_trip(gzip(text, 0), text);
  expect_round_trip(gzip(text, 6), text);
}

TEST(GzipCodec, ManyMembers) {
  const std::string text = sample_bytes(2 << 20, 4);
  for (const std::size_t piece : {1000U, 100'000U, 300'000U, 700'000U})
    expect_round_trip(test::gzip_members(text, piece), text);
  const std::string with_empty =
      gzip("") + gzip(text.substr(0, 500'000)) + gzip("") + gzip("") + gzip(text.substr(500'000)) + gzip("");
  expect_round_trip(with_empty, text);
}

TEST(GzipCodec, LongRunsOfOneByte) {
  const std::string text(24 << 20, 'z');
  expect_round_trip(gzip(text, 9), text);
}

TEST(GzipCodec, EmptyStream) {
  const auto scanned = scan(gzip(""));
  ASSERT_TRUE(scanned) << scanned.error().text;
  EXPECT_TRUE(scanned->records.empty());
}

TEST(GzipCodec, TrailingBytesAreIgnored) {
  const std::string text = sample_bytes(600'000, 5);
  for (const std::string& tail : {std::string(1000, '\0'), std::string("\x1f"),
                                  std::string("\x1f\x8c garbage"), random_bytes(70'000, 6)}) {
    expect_round_trip(gzip(text) + tail, text);
  }
}

TEST(GzipCodec, PiecesOfAnySizeMakeTheSameTable) {
  const std::string text = sample_bytes(700'000, 7);
  const std::string blob = test::gzip_members(text, 400'000) + "tail";
  const auto whole = scan(blob);
  ASSERT_TRUE(whole);
  for (const auto& [piece, room] :
       std::vector<std::pair<std::size_t, std::size_t>>{{1, 1000}, {13, 1}, {4096, 50'000}, {100'000, 7}}) {
    const auto pieces = scan(blob, piece, room);
    ASSERT_TRUE(pieces) << pieces.error().text;
    EXPECT_EQ(pieces->text, text);
    ASSERT_EQ(pieces->records.size(), whole->records.size());
    for (std::size_t i = 0; i < whole->records.size(); ++i) {
      EXPECT_EQ(pieces->records[i].stream_offset, whole->records[i].stream_offset);
      EXPECT_EQ(pieces->records[i].blob_bit_offset, whole->records[i].blob_bit_offset);
      EXPECT_EQ(pieces->records[i].span_hash, whole->records[i].span_hash);
    }
  }
}

TEST(GzipCodec, RealCompressors) {
  const test::TempDir dir;
  const std::string text = sample_bytes(3 << 20, 8) + random_bytes(300'000, 9);
  test::write_text(dir / "in", text);
  for (const std::string command : {"gzip -c", "gzip -1 -c", "gzip -9 -c", "pigz -p 2 -c",
                                    "pigz -p 2 -i -b 128 -c", "pigz -11 -c", "igzip -1 -c", "igzip -3 -c"}) {
    const std::string tool = command.substr(0, command.find(' '));
    if (std::system(("command -v " + tool + " > /dev/null").c_str()) != 0) {
      std::cout << "left out: " << command << ", which is not installed\n";
      continue;
    }
    SCOPED_TRACE(command);
    ASSERT_EQ(std::system((command + " < " + (dir / "in").string() + " > " + (dir / "out").string()).c_str()),
              0);
    expect_round_trip(test::read_text(dir / "out"), text);
  }
}

TEST(GzipCodec, RefusesWhatIsNoGzipOrEndsEarly) {
  const auto error_of = [](std::string_view blob) {
    const auto scanned = scan(blob);
    return scanned ? std::string("none") : scanned.error().text;
  };
  EXPECT_NE(error_of("plain text").find("does not begin as gzip"), std::string::npos);
  EXPECT_NE(error_of("").find("end early"), std::string::npos);
  const std::string blob = gzip(sample_bytes(100'000, 10));
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{5}, std::size_t{10}, blob.size() / 2, blob.size() - 9, blob.size() - 1}) {
    EXPECT_NE(error_of(std::string_view(blob).substr(0, size)).find("end early"), std::string::npos) << size;
  }
  const std::string unknown_block = blob.substr(0, 10) + '\x07' + blob.substr(11);
  EXPECT_NE(error_of(unknown_block).find("damaged near byte"), std::string::npos);
}

TEST(GzipCodec, ASpanThatChangedIsNotServed) {
  const std::string text = sample_bytes(700'000, 11);
  std::string blob = gzip(text);
  const auto scanned = scan(blob);
  ASSERT_TRUE(scanned);
  const auto table = CheckpointTable::parse(scanned->records, scanned->windows, blob.size(), text.size());
  const SpanInfo span = table->span(1);
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 50; ++round) {
    std::string compressed = blob.substr(span.blob_offset, span.blob_bytes);
    // Not the outermost bytes: their bits may belong to the neighbours.
    compressed[1 + random() % (compressed.size() - 2)] ^= static_cast<char>(1U << random() % 8);
    std::string out(span.size_bytes, '.');
    const auto done = decode_gzip_span(span, as_bytes(compressed), std::as_writable_bytes(std::span(out)));
    // A changed distance may point at the same bytes: then nothing is wrong with what comes out.
    if (done) {
      EXPECT_EQ(out, text.substr(span.stream_offset, span.size_bytes));
    }
  }
  std::string out(span.size_bytes, '.');
  const auto cut = decode_gzip_span(span, as_bytes(blob).subspan(span.blob_offset, span.blob_bytes / 2),
                                    std::as_writable_bytes(std::span(out)));
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, EIO);
}

}  // namespace
}  // namespace layerboot::layer
