#include "oci-mount/layer/zstd_scanner.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/span_codec.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

using test::sample_bytes;

class StringSink final : public StreamSink {
 public:
  std::span<std::byte> room() override { return room_; }
  Result<void> take(std::size_t size_bytes) override {
    text_ += as_text(std::span<const std::byte>(room_).first(size_bytes));
    return {};
  }
  std::string text_;

 private:
  std::vector<std::byte> room_{50'000};
};

std::string frame(std::string_view text, int window_log = 0) {
  std::string out(::ZSTD_compressBound(text.size()), '\0');
  ZSTD_CCtx* const encoder = ::ZSTD_createCCtx();
  ::ZSTD_CCtx_setParameter(encoder, ZSTD_c_checksumFlag, 1);
  if (window_log != 0) {
    ::ZSTD_CCtx_setParameter(encoder, ZSTD_c_windowLog, window_log);
    ::ZSTD_CCtx_setParameter(encoder, ZSTD_c_contentSizeFlag, 0);
  }
  ZSTD_inBuffer in{text.data(), text.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  // Otherwise the size is known beforehand, and the window made to fit.
  if (window_log != 0) ::ZSTD_compressStream2(encoder, &to, &in, ZSTD_e_continue);
  if (::ZSTD_compressStream2(encoder, &to, &in, ZSTD_e_end) != 0) std::abort();
  ::ZSTD_freeCCtx(encoder);
  return out.substr(0, to.pos);
}

std::string frames(std::string_view text, std::size_t frame_bytes) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += frame_bytes) out += frame(text.substr(at, frame_bytes));
  return out;
}

/// As zstd:chunked and the seekable format have them.
std::string skippable(std::string_view content) {
  const std::uint32_t head[2] = {0x184D2A50U, static_cast<std::uint32_t>(content.size())};
  return std::string(reinterpret_cast<const char*>(head), sizeof(head)) + std::string(content);
}

struct Scanned {
  std::string text;
  std::vector<CheckpointRecord> records;
};

Result<Scanned> scan(std::string_view blob, AtomicFile* recut = nullptr, std::size_t piece_bytes = 1 << 20) {
  StringSink sink;
  LB_ASSIGN(const auto scanner, ZstdScanner::create(sink, recut));
  for (std::size_t at = 0; at < blob.size(); at += piece_bytes)
    LB_TRY(scanner->push(as_bytes(blob.substr(at, piece_bytes))));
  LB_TRY(scanner->finish());
  const auto records = scanner->checkpoints().records();
  return Scanned{std::move(sink.text_), {records.begin(), records.end()}};
}

/// Decodes each span by itself; gives how many there are.
std::uint32_t expect_every_span(std::string_view blob, std::string_view text, const Scanned& scanned) {
  EXPECT_TRUE(scanned.text == text);
  const auto table = CheckpointTable::parse(scanned.records, {}, blob.size(), text.size());
  EXPECT_TRUE(table) << table.error().text;
  if (!table) return 0;
  std::uint64_t at = 0;
  for (std::uint32_t i = 0; i < table->span_count(); ++i) {
    const SpanInfo span = table->span(i);
    EXPECT_EQ(span.stream_offset, at);
    std::string out(span.size_bytes, '.');
    const auto done = decode_span(span, as_bytes(blob.substr(span.blob_offset, span.blob_bytes)),
                                  std::as_writable_bytes(std::span(out)));
    EXPECT_TRUE(done) << "span " << i << ": " << done.error().text;
    EXPECT_TRUE(out == text.substr(at, span.size_bytes)) << "span " << i;
    at += span.size_bytes;
  }
  EXPECT_EQ(at, text.size());
  return table->span_count();
}

TEST(ZstdScanner, FramesAreCheckpoints) {
  const std::string text = sample_bytes(3 << 20, 1);
  for (const std::size_t frame_bytes : {1000U, 60'000U, 262'144U, 1'000'000U}) {
    const std::string blob = frames(text, frame_bytes);
    const auto scanned = scan(blob);
    ASSERT_TRUE(scanned) << scanned.error().text;
    const std::uint32_t spans = expect_every_span(blob, text, *scanned);
    EXPECT_GE(spans, 3U);
    EXPECT_LE(spans, (3U << 20U) / kSpanTargetBytes);
  }
}

TEST(ZstdScanner, SkippableAndEmptyFramesGiveNothing) {
  const std::string text = sample_bytes(700'000, 2);
  const std::string toc(100'000, 't');
  const std::string blob = skippable("front") + frame("") + frame(text.substr(0, 300'000)) + skippable(toc) +
                           frame("") + frame(text.substr(300'000)) + skippable(toc);
  for (const std::size_t piece : {1U << 20U, 999U, 1U}) {
    const auto scanned = scan(blob, nullptr, piece);
    ASSERT_TRUE(scanned) << scanned.error().text;
    EXPECT_EQ(expect_every_span(blob, text, *scanned), 2U);
    // The last span ends where the data do, not where the blob does.
    EXPECT_LT(scanned->records.back().blob_bit_offset / 8, blob.size() - toc.size());
  }
}

TEST(ZstdScanner, EmptyStreams) {
  for (const std::string& blob : {std::string(), frame(""), skippable("x")}) {
    const auto scanned = scan(blob);
    ASSERT_TRUE(scanned) << scanned.error().text;
    EXPECT_TRUE(scanned->records.empty());
  }
}

TEST(ZstdScanner, ALargeFrameIsRecut) {
  const test::TempDir dir;
  const std::string text = sample_bytes(kMaxZstdFrameBytes + 1'000'001, 3);
  const std::string blob = frame(text);
  const auto refused = scan(blob);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EFBIG);
  auto recut = AtomicFile::create(dir / "recut");
  ASSERT_TRUE(recut);
  const auto scanned = scan(blob, &*recut);
  ASSERT_TRUE(scanned) << scanned.error().text;
  ASSERT_TRUE(recut->commit());
  const std::string cut = test::read_text(dir / "recut");
  EXPECT_EQ(expect_every_span(cut, text, *scanned), text.size() / kSpanTargetBytes + 1);
  EXPECT_LT(cut.size(), text.size());
}

TEST(ZstdScanner, RefusesWhatIsDamagedOrTooMuch) {
  const std::string text = sample_bytes(200'000, 4);
  const std::string blob = frame(text);
  const auto refused = [](std::string_view bad, std::string_view word) {
    const auto scanned = scan(bad);
    ASSERT_FALSE(scanned) << word;
    EXPECT_NE(scanned.error().text.find(word), std::string::npos) << scanned.error().text;
  };
  refused(blob.substr(0, blob.size() - 1), "end within a frame");
  refused(blob + "tail", "can't be decoded");
  refused("no zstd at all", "can't be decoded");
  std::string flipped = blob;
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 0x10);
  refused(flipped, "can't be decoded");
  refused(frame(text, 28), "over the limit of 2^27");
  EXPECT_TRUE(scan(frame(text, 27)));
}

TEST(ZstdScanner, ASpanThatChangedIsNotServed) {
  const std::string text = sample_bytes(100'000, 5);
  const std::string blob = frame(text);
  const auto scanned = scan(blob);
  const auto table = CheckpointTable::parse(scanned->records, {}, blob.size(), text.size());
  std::string out(text.size(), '.');
  const std::string other = frame(sample_bytes(100'000, 6));
  for (const std::string& bad : {other, blob.substr(0, blob.size() / 2), std::string(blob.size(), 'x')}) {
    const auto done = decode_span(table->span(0), as_bytes(bad), std::as_writable_bytes(std::span(out)));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, EIO);
  }
}

}  // namespace
}  // namespace layerboot::layer
