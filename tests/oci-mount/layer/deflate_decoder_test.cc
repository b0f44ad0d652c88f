// The decoder beside zlib's: the same bytes, blocks and refusals, however the data come.
#include "oci-mount/layer/deflate_decoder.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "tests/support/decoded_deflate.h"
#include "tests/support/image_builder.h"

namespace layerboot::layer {
namespace {

using test::by_us;
using test::by_zlib;
using test::Decoded;
using test::leave_same_beginning;
using test::zlib_bytes;

struct Manner {
  int level = 6;
  int strategy = Z_DEFAULT_STRATEGY;
  int memory_level = 8;
};

/// Raw deflate data of pieces, with a flush behind each but the last.
std::string compressed(const std::vector<std::string>& pieces, const Manner& manner,
                       int flush = Z_FULL_FLUSH) {
  z_stream stream{};
  EXPECT_EQ(::deflateInit2(&stream, manner.level, Z_DEFLATED, -15, manner.memory_level, manner.strategy),
            Z_OK);
  std::string out;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    stream.next_in = zlib_bytes(pieces[i]);
    stream.avail_in = static_cast<uInt>(pieces[i].size());
    do {
      std::string part(65536, '\0');
      stream.next_out = zlib_bytes(part);
      stream.avail_out = static_cast<uInt>(part.size());
      ::deflate(&stream, i + 1 == pieces.size() ? Z_FINISH : flush);
      out.append(part, 0, part.size() - stream.avail_out);
    } while (stream.avail_out == 0);
  }
  ::deflateEnd(&stream);
  return out;
}

class DeflateDecoderTest : public testing::Test {
 protected:
  Decoded decode(std::string_view data, std::size_t in_bytes = SIZE_MAX, std::size_t out_bytes = 100'000) {
    return by_us(*decoder, data, in_bytes, out_bytes);
  }
  std::string some_text() {
    const std::size_t size = random() % (1U << random() % 20U);
    std::string text = test::sample_bytes(size, static_cast<unsigned>(random()));
    // Copies from near and far, of every length.
    for (int i = static_cast<int>(random() % 200); i > 0 && size > 10; --i) {
      const std::size_t to = 1 + random() % (size - 1);
      const std::size_t distance = 1 + random() % std::min<std::size_t>(to, 1U << random() % 16U);
      const std::size_t length = std::min<std::size_t>(1 + random() % 400, size - to);
      for (std::size_t k = 0; k < length; ++k) text[to + k] = text[to + k - distance];
    }
    return text;
  }
  std::string some_data() {
    std::vector<std::string> pieces;
    for (std::size_t i = 1 + random() % 4; i > 0; --i) pieces.push_back(some_text());
    constexpr int kFlushes[] = {Z_FULL_FLUSH, Z_SYNC_FLUSH, Z_PARTIAL_FLUSH, Z_BLOCK};
    return compressed(pieces,
                      {.level = static_cast<int>(random() % 10),
                       .strategy = static_cast<int>(random() % 5),
                       .memory_level = 1 + static_cast<int>(random() % 9)},
                      kFlushes[random() % 4]);
  }

  const unsigned seed = std::random_device{}();
  testing::ScopedTrace trace{__FILE__, __LINE__, "seed " + std::to_string(seed)};
  std::mt19937 random{seed};
  std::unique_ptr<DeflateDecoder> decoder = std::make_unique<DeflateDecoder>();
};

TEST_F(DeflateDecoderTest, GivesWhatZlibGivesHoweverItComes) {
  for (int round = 0; round < 300; ++round) {
    const std::string data = some_data() + test::sample_bytes(random() % 20, 1);
    const Decoded wanted = by_zlib(data);
    ASSERT_EQ(wanted.damage, "");
    ASSERT_EQ(decode(data), wanted);
    if (wanted.text.size() > 100'000) continue;
    ASSERT_EQ(decode(data, 1), wanted) << "byte by byte";
    ASSERT_EQ(decode(data, 1 + random() % 40, 1 + random() % 40), wanted);
  }
}

TEST_F(DeflateDecoderTest, RefusesWhatZlibRefuses) {
  unsigned refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> pieces = {test::sample_bytes(random() % 3000, static_cast<unsigned>(round)),
                                       some_text().substr(0, 2000)};
    std::string data = compressed(
        pieces, {.level = static_cast<int>(random() % 10), .strategy = static_cast<int>(random() % 5)});
    for (auto flips = 1 + random() % 3; flips > 0; --flips) {
      // Mostly where a block begins.
      const std::size_t at =
          random() % (random() % 2 == 0 ? std::min<std::size_t>(data.size(), 80) : data.size());
      data[at] = static_cast<char>(static_cast<unsigned char>(data[at]) ^ 1U << random() % 8U);
    }
    if (random() % 4 == 0) data.resize(random() % data.size());
    Decoded wanted = by_zlib(data);
    Decoded found = decode(data, 1 + random() % 5000);
    if (!wanted.damage.empty()) {
      ++refused;
      leave_same_beginning(wanted, found);
    }
    ASSERT_EQ(found, wanted) << "round " << round;
  }
  EXPECT_GT(refused, 1000U);
}

TEST_F(DeflateDecoderTest, BytesThatAreNoDeflateDataAtAll) {
  for (int round = 0; round < 20'000; ++round) {
    std::string data = test::sample_bytes(1 + random() % 60, static_cast<unsigned>(random()));
    // A block of a code of its own, more often than by chance.
    if (random() % 2 == 0) data[0] = static_cast<char>((static_cast<unsigned char>(data[0]) & ~7U) | 4U);
    Decoded wanted = by_zlib(data);
    Decoded found = decode(data, 1 + random() % 60);
    if (!wanted.damage.empty()) leave_same_beginning(wanted, found);
    ASSERT_EQ(found, wanted) << "round " << round;
  }
}

TEST_F(DeflateDecoderTest, WhatIsNotedIsAllThatIsReferredTo) {
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> pieces;
    for (int i = 0; i < 4; ++i) pieces.push_back(some_text());
    const std::string data = compressed(pieces, {.level = 1 + static_cast<int>(random() % 9)}, Z_SYNC_FLUSH);
    const Decoded whole = by_zlib(data);
    decoder->start();
    std::string text(whole.text.size() + 1, '\0');
    std::size_t at = 0;
    std::size_t size = 0;
    const auto go_on = [&] {
      const auto step =
          decoder->step(as_bytes(data).subspan(at), std::as_writable_bytes(std::span(text)).subspan(size));
      EXPECT_TRUE(step);
      at += step->consumed;
      size += step->produced;
      return step->stop;
    };
    std::size_t skipped = random() % (whole.block_ends.size() + 1);
    DeflateDecoder::Stop stop = DeflateDecoder::Stop::kBlockEnd;
    while (stop == DeflateDecoder::Stop::kBlockEnd && skipped-- > 0) stop = go_on();
    if (stop != DeflateDecoder::Stop::kBlockEnd || size == 0) continue;
    Window window;
    const std::size_t known = decoder->copy_window(window);
    ASSERT_EQ(known, std::min(size, kWindowBytes));
    ASSERT_EQ(as_text(std::span(window).last(known)), text.substr(size - known, known));
    auto needed = std::make_unique<NeededBytes>();
    decoder->note_needed(needed.get());
    const std::size_t from = size;
    const std::uint64_t from_bits = at * 8 - decoder->unused_bits();
    while (stop == DeflateDecoder::Stop::kBlockEnd) stop = go_on();
    ASSERT_EQ(stop, DeflateDecoder::Stop::kStreamEnd);
    ASSERT_EQ(text.substr(0, size), whole.text);

    const auto decoded_after = [&](const Window& other) {
      DeflateDecoder again;
      again.start(other);
      std::size_t begin = from_bits / 8;
      if (from_bits % 8 != 0) {
        again.prime(static_cast<unsigned char>(data[begin]) >> from_bits % 8, 8 - from_bits % 8);
        ++begin;
      }
      std::string out(size - from, '\0');
      for (std::size_t done = 0; done < out.size();) {
        const auto step =
            again.step(as_bytes(data).subspan(begin), std::as_writable_bytes(std::span(out)).subspan(done));
        if (!step || (step->produced == 0 && step->stop == DeflateDecoder::Stop::kMore))
          return std::string("?");
        begin += step->consumed;
        done += step->produced;
      }
      return out;
    };
    Window other = window;
    for (std::size_t i = 0; i < kWindowBytes; ++i) {
      if ((*needed)[i] == 0) other[i] = ~other[i];
    }
    ASSERT_EQ(decoded_after(other), text.substr(from, size - from)) << "the rest makes no difference";
    // Each byte that is noted does.
    std::vector<std::size_t> noted;
    for (std::size_t i = 0; i < kWindowBytes; ++i) {
      if ((*needed)[i] != 0) noted.push_back(i);
    }
    for (int i = 0; i < 5 && !noted.empty(); ++i) {
      other = window;
      auto& changed = other[noted[random() % noted.size()]];
      changed = ~changed;
      ASSERT_NE(decoded_after(other), text.substr(from, size - from));
    }
  }
}

TEST_F(DeflateDecoderTest, CopiesReachNoFurtherBackThanTheStream) {
  // A fixed block that copies three bytes from one before its beginning: 1, 01, length 0000001, distance
  // 00000.
  const std::string data("\x03\x02\x00\x00", 4);
  EXPECT_EQ(by_zlib(data).damage, "invalid distance too far back");
  EXPECT_EQ(decode(data).damage, "invalid distance too far back");
}

}  // namespace
}  // namespace layerboot::layer
