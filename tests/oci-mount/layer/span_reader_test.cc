#include "oci-mount/layer/span_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "oci-mount/layer/index_builder.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/limits.h"
#include "tests/support/counting_blob.h"
#include "tests/support/image_builder.h"
#include "tests/support/reactor_fixture.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

using test::CountingBlob;

class SpanReaderTest : public test::ReactorFixture {
 protected:
  void SetUp() override {
    ReactorFixture::SetUp();
    packed_ = std::make_shared<CountingBlob>(test::gzip(tar_), "packed layer");
    plain_ = std::make_shared<CountingBlob>(tar_, "plain layer");
    layers_ = {index(packed_, store::Compression::kGzip), index(plain_, store::Compression::kNone)};
    open_reader();
  }
  void TearDown() override {
    packed_->release();
    drain();
  }
  void drain() { reactor_->run_until_released(); }
  void open_reader(std::size_t cache_bytes = SpanCache::kDefaultBytes) {
    if (reader_) drain();
    reader_.reset();
    cache_ = std::make_unique<SpanCache>(budget_, cache_bytes);
    reader_ = std::make_unique<SpanReader>(layers_, *cache_, workers_);
  }
  std::shared_ptr<const Layer> index(const std::shared_ptr<CountingBlob>& blob,
                                     store::Compression compression) {
    ExpectedLayer expected;
    struct stat st{};
    st.st_ino = ++inode_;
    expected.identity = LayerIdentity::of_file(st);
    expected.compression = compression;
    const auto path = dir_ / expected.identity.index_file_name();
    const auto built = build_index(*blob, expected, path, [](std::uint64_t) {});
    EXPECT_TRUE(built) << built.error().text;
    auto opened = LayerIndex::open(path, expected.identity);
    EXPECT_TRUE(opened) << opened.error().text;
    return std::make_shared<const Layer>(blob, expected.identity, std::move(*opened));
  }
  Result<std::string> read(LayerNumber layer, std::uint64_t offset, std::size_t size) {
    std::string text(size, '.');
    const iovec slice{text.data(), size};
    auto done = reactor_->block_on(reader_->read(*reactor_, layer, offset, std::span(&slice, 1)));
    if (!done) return std::unexpected(done.error());
    return text;
  }
  [[nodiscard]] const CheckpointTable& spans() const { return layers_[0]->index().checkpoints(); }

  static constexpr LayerNumber kPacked = 0;
  static constexpr LayerNumber kPlain = 1;
  test::TempDir dir_;
  unsigned inode_ = 0;
  std::string tar_ = test::TarBuilder().file("f", test::sample_bytes(3 << 20, 1)).finish();
  WorkerPool workers_{2};
  std::shared_ptr<CountingBlob> packed_;
  std::shared_ptr<CountingBlob> plain_;
  std::vector<std::shared_ptr<const Layer>> layers_;
  MemoryBudget budget_;
  std::unique_ptr<SpanCache> cache_;
  std::unique_ptr<SpanReader> reader_;
};

TEST_F(SpanReaderTest, GivesAnyRangeOfAnyLayer) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  open_reader(600'000);  // some are kept, some are not
  for (int round = 0; round < 100; ++round) {
    const auto layer = static_cast<LayerNumber>(random() % 2);
    const std::size_t offset = random() % tar_.size();
    const std::size_t size = std::min<std::size_t>(random() % (1U << random() % 21), tar_.size() - offset);
    // Into pieces of odd sizes, as a guest's pages may lie.
    std::string text(size, '.');
    std::vector<iovec> slices;
    for (std::size_t at = 0; at < size;) {
      const std::size_t piece = std::min<std::size_t>(1 + random() % 9000, size - at);
      slices.push_back({text.data() + at, piece});
      at += piece;
    }
    const auto done = reactor_->block_on(reader_->read(*reactor_, layer, offset, slices));
    ASSERT_TRUE(done) << done.error().text;
    ASSERT_EQ(text, tar_.substr(offset, size));
  }
}

TEST_F(SpanReaderTest, AColdReadCostsOneBlobReadOfOneSpan) {
  ASSERT_EQ(*read(kPacked, 1'000'000, 4096), tar_.substr(1'000'000, 4096));
  EXPECT_EQ(packed_->reads(), 1U);
  EXPECT_EQ(packed_->bytes_read(), spans().span(spans().find(1'000'000)).blob_bytes);
}

TEST_F(SpanReaderTest, AWarmReadCostsNone) {
  const SpanInfo span = spans().span(2);
  ASSERT_TRUE(read(kPacked, span.stream_offset, 1));
  packed_->reset_counts();
  std::string text(span.size_bytes - 10, '.');
  const iovec slice{text.data(), text.size()};
  EXPECT_TRUE(reader_->try_read(kPacked, span.stream_offset + 5, std::span(&slice, 1)));
  EXPECT_EQ(text, tar_.substr(span.stream_offset + 5, text.size()));
  EXPECT_EQ(packed_->reads(), 0U);
}

TEST_F(SpanReaderTest, TryReadSaysNoWhereItWouldWait) {
  std::string text(100, '.');
  const iovec slice{text.data(), text.size()};
  EXPECT_FALSE(reader_->try_read(kPacked, 1000, std::span(&slice, 1))) << "not decoded yet";
  EXPECT_FALSE(reader_->try_read(kPlain, 1000, std::span(&slice, 1))) << "a blob without a descriptor";
  EXPECT_FALSE(reader_->try_read(9, 0, std::span(&slice, 1))) << "no such layer";
  EXPECT_FALSE(reader_->try_read(kPacked, tar_.size(), std::span(&slice, 1))) << "beyond the end";
  EXPECT_EQ(packed_->reads() + plain_->reads(), 0U);
}

TEST_F(SpanReaderTest, APlainBlobIsCheckedAtTheFirstUseOfEachSpan) {
  constexpr std::uint64_t kAt = 1'000'000;
  ASSERT_EQ(*read(kPlain, kAt, 100), tar_.substr(kAt, 100));
  EXPECT_EQ(plain_->reads(), 2U);
  EXPECT_EQ(plain_->bytes_read(), kPlainSpanBytes + 100);
  plain_->reset_counts();
  ASSERT_EQ(*read(kPlain, kAt + 100, 100), tar_.substr(kAt + 100, 100));
  EXPECT_EQ(plain_->bytes_read(), 100U) << "checked before";
  ASSERT_EQ(*read(kPlain, 0, tar_.size()), tar_);
  plain_->reset_counts();
  ASSERT_EQ(*read(kPlain, 0, tar_.size()), tar_);
  EXPECT_EQ(plain_->reads(), 1U);
}

TEST_F(SpanReaderTest, APlainBlobThatHasChangedIsNotServed) {
  constexpr std::uint64_t kAt = 1'000'000;
  plain_->bytes()[kAt] ^= 1;
  const std::uint64_t span = kAt / kPlainSpanBytes * kPlainSpanBytes;
  for (const auto& [offset, size] :
       {std::pair{kAt, std::size_t{1}}, std::pair{span, std::size_t{1}}, std::pair{span - 1, std::size_t{2}},
        std::pair{kAt + 1, std::size_t{1}}}) {
    const auto wrong = read(kPlain, offset, size);
    ASSERT_FALSE(wrong) << offset;
    EXPECT_EQ(wrong.error().code, EIO);
    EXPECT_NE(wrong.error().text.find("not those that were indexed"), std::string::npos);
  }
  EXPECT_EQ(*read(kPlain, 0, span), tar_.substr(0, span)) << "what is whole is";
  plain_->bytes()[kAt] ^= 1;
  EXPECT_EQ(*read(kPlain, kAt, 100), tar_.substr(kAt, 100)) << "it was put right";
}

TEST_F(SpanReaderTest, APlainFileIsReadFromThePageCacheAtOnce) {
  test::write_text(dir_ / "plain.tar", tar_);
  const auto layer = open_layer(dir_ / "plain.tar", {dir_ / "index", false});
  ASSERT_TRUE(layer) << layer.error().text;
  SpanReader reader({*layer}, *cache_, workers_);
  std::string text(5000, '.');
  const std::array slices{iovec{text.data(), 1000}, iovec{text.data() + 1000, 4000}};
  ASSERT_TRUE(reactor_->block_on(reader.read(*reactor_, 0, 700, slices)));
  EXPECT_EQ(text, tar_.substr(700, 5000));
  // Where the file system can't tell without waiting, it says so, and that is no error.
  text.assign(5000, '.');
  if (reader.try_read(0, 700, slices)) {
    EXPECT_EQ(text, tar_.substr(700, 5000));
  }
}

TEST_F(SpanReaderTest, AReadOverManySpansReadsEachOnce) {
  const std::uint64_t from = spans().span(1).stream_offset + 7;
  const std::uint64_t to = spans().span(5).stream_offset + 3;
  ASSERT_EQ(*read(kPacked, from, to - from), tar_.substr(from, to - from));
  EXPECT_EQ(packed_->reads(), 5U);
}

TEST_F(SpanReaderTest, APlainReadGoesStraightAndIsNotCut) {
  ASSERT_TRUE(read(kPlain, 0, 1'000'123));  // checked from here on
  plain_->reset_counts();
  ASSERT_EQ(*read(kPlain, 123, 1'000'000), tar_.substr(123, 1'000'000));
  EXPECT_EQ(plain_->reads(), 1U);
  EXPECT_EQ(plain_->bytes_read(), 1'000'000U);
  EXPECT_EQ(cache_->used_bytes(), 0U);
  plain_->set_max_read(300'000);
  ASSERT_EQ(*read(kPlain, 123, 1'000'000), tar_.substr(123, 1'000'000)) << "short reads are gone on with";
}

TEST_F(SpanReaderTest, AHundredMissesOnOneSpanAreOneBlobRead) {
  packed_->hold();
  std::vector<std::string> texts(100, std::string(64, '.'));
  std::vector<iovec> slices;
  std::size_t left = texts.size();
  const std::uint64_t base = spans().span(3).stream_offset;
  for (auto& text : texts) slices.push_back({text.data(), text.size()});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    start(reader_->read(*reactor_, kPacked, base + i * 1000, std::span(&slices[i], 1)),
          [&](const Result<void>& done) {
            EXPECT_TRUE(done);
            if (--left == 0) reactor_->stop();
          });
  }
  EXPECT_EQ(left, texts.size());
  packed_->release();
  reactor_->run();
  EXPECT_EQ(packed_->reads(), 1U);
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(texts[i], tar_.substr(base + i * 1000, 64)) << i;
}

TEST_F(SpanReaderTest, OneFlightServesSeveralReactors) {
  const std::uint64_t base = spans().span(4).stream_offset;
  const auto one_thread = [&](Reactor* reactor) {
    for (std::uint32_t i = 0; i < spans().span_count(); ++i) {
      std::string text(1000, '.');
      const iovec slice{text.data(), text.size()};
      const std::uint64_t at = i % 2 == 0 ? base : spans().span(i).stream_offset;
      const std::uint64_t offset = std::min<std::uint64_t>(at, tar_.size() - text.size());
      EXPECT_TRUE(reactor->block_on(reader_->read(*reactor, kPacked, offset, std::span(&slice, 1))));
      EXPECT_EQ(text, tar_.substr(offset, text.size()));
    }
    reactor->run_until_released();
  };
  std::thread other([&] {
    const auto reactor = Reactor::create();
    ASSERT_TRUE(reactor);
    one_thread(reactor->get());
  });
  one_thread(reactor_.get());
  other.join();
  EXPECT_LE(packed_->reads(), spans().span_count());
}

TEST_F(SpanReaderTest, ASequentialReaderFindsTheNextSpansReady) {
  constexpr std::size_t kStep = 64 * 1024;
  ASSERT_TRUE(read(kPacked, 0, kStep));
  EXPECT_EQ(packed_->reads(), 1U) << "a first read is not sequential";
  ASSERT_TRUE(read(kPacked, kStep, kStep));
  drain();
  EXPECT_EQ(packed_->reads(), 1U + SpanReader::kPrefetchSpans);
  std::string text(1000, '.');
  const iovec slice{text.data(), text.size()};
  EXPECT_TRUE(reader_->try_read(kPacked, spans().span(1).stream_offset, std::span(&slice, 1)));
  EXPECT_TRUE(reader_->try_read(kPacked, spans().span(2).stream_offset, std::span(&slice, 1)));
}

TEST_F(SpanReaderTest, PrefetchGoesOnAtHits) {
  constexpr std::size_t kStep = 50'000;
  std::uint32_t waited = 0;
  std::uint32_t slow = 0;
  ASSERT_GT(spans().span_count(), 3 * SpanReader::kPrefetchSpans);
  for (std::uint64_t at = 0; at + kStep <= tar_.size(); at += kStep) {
    std::string text(kStep, '.');
    const iovec slice{text.data(), text.size()};
    if (!reader_->try_read(kPacked, at, std::span(&slice, 1))) {
      ++slow;
      const std::uint32_t last = spans().find(at + kStep - 1);
      for (std::uint32_t number = spans().find(at); number <= last; ++number)
        waited += cache_->find({layers_[0]->number(), number}) == nullptr ? 1U : 0U;
      text = *read(kPacked, at, kStep);
    }
    ASSERT_TRUE(text == tar_.substr(at, kStep)) << at;
    drain();
  }
  // What a reader can't have announced: the first, and what follows it before he has read on.
  EXPECT_LE(waited, 2U);
  EXPECT_LE(slow, spans().span_count() + 2U) << "once for each span, at most";
  EXPECT_EQ(packed_->reads(), spans().span_count()) << "each once";
}

TEST_F(SpanReaderTest, ReadsBeyondWhatMayBeInFlightWaitForTheirTurn) {
  open_reader(0);
  auto& in_flight = budget_.spans();
  const std::uint64_t nearly_all = in_flight.capacity_bytes() - spans().largest_span_bytes();
  auto others = in_flight.try_acquire(nearly_all);
  ASSERT_TRUE(others);
  packed_->hold();
  const auto count = static_cast<std::size_t>(spans().span_count()) - 1;
  ASSERT_GT(count, 4U);
  std::vector<std::string> texts(count, std::string(10, '.'));
  std::vector<iovec> slices;
  for (auto& text : texts) slices.push_back({text.data(), text.size()});
  std::size_t left = count;
  for (std::uint32_t i = 0; i < count; ++i) {
    start(reader_->read(*reactor_, kPacked, spans().span(i).stream_offset, std::span(&slices[i], 1)),
          [&](const Result<void>& done) {
            EXPECT_TRUE(done);
            if (--left == 0) reactor_->stop();
          });
  }
  EXPECT_GE(in_flight.waiting(), count - 3) << "they have read nothing yet";
  EXPECT_LE(in_flight.used_bytes(), in_flight.capacity_bytes());
  const auto all = budget_.limit_bytes();
  packed_->release();
  reactor_->run();
  for (std::uint32_t i = 0; i < count; ++i)
    EXPECT_EQ(texts[i], tar_.substr(spans().span(i).stream_offset, 10)) << i;
  EXPECT_EQ(in_flight.used_bytes(), nearly_all);
  EXPECT_LE(budget_.peak_bytes(), all);
}

TEST_F(SpanReaderTest, NothingIsPrefetchedWhereThereIsNoRoom) {
  auto& in_flight = budget_.spans();
  const std::uint64_t first = spans().span(1).stream_offset;
  ASSERT_TRUE(read(kPacked, 0, 100));
  ASSERT_TRUE(read(kPacked, 100, first - 100));  // reads on
  drain();
  EXPECT_EQ(packed_->reads(), 1U + SpanReader::kPrefetchSpans);
  open_reader();
  ASSERT_TRUE(read(kPacked, 0, 100));
  const auto before = packed_->reads();
  const auto others = in_flight.try_acquire(in_flight.capacity_bytes());
  ASSERT_TRUE(read(kPacked, 100, first - 100));
  drain();
  EXPECT_EQ(packed_->reads(), before);
}

TEST_F(SpanReaderTest, ABlobThatChangedGivesEioNeverWrongBytes) {
  const SpanInfo span = spans().span(2);
  std::string& bytes = packed_->bytes();
  const std::string good = bytes;
  bytes[span.blob_offset + span.blob_bytes / 2] ^= 4;
  EXPECT_EQ(read(kPacked, span.stream_offset + 10, 10).error().code, EIO);
  EXPECT_TRUE(read(kPacked, spans().span(1).stream_offset, 10)) << "its neighbours are served on";
  bytes = good;
  EXPECT_EQ(*read(kPacked, span.stream_offset + 10, 10), tar_.substr(span.stream_offset + 10, 10))
      << "and nothing bad is kept";
}

TEST_F(SpanReaderTest, ABlobThatEndsEarlyOrFailsGivesEio) {
  packed_->bytes().resize(1000);
  EXPECT_EQ(read(kPacked, 2'000'000, 10).error().code, EIO);
  packed_->set_error(EIO);
  EXPECT_EQ(read(kPacked, 1'000'000, 10).error().code, EIO);
  plain_->bytes().resize(1000);
  EXPECT_EQ(read(kPlain, 500, 1000).error().code, EIO);
}

TEST_F(SpanReaderTest, OutsideTheStreamIsRefused) {
  EXPECT_EQ(read(kPacked, tar_.size() - 5, 6).error().code, EINVAL);
  EXPECT_EQ(read(kPacked, ~0ULL, 1).error().code, EINVAL);
  EXPECT_EQ(read(7, 0, 1).error().code, EINVAL);
  EXPECT_EQ(*read(kPacked, tar_.size(), 0), "");
}

}  // namespace
}  // namespace layerboot::layer
