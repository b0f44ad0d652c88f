#include "guest-init/agent_protocol.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace guest_init {
namespace {

Hello make_hello(std::uint8_t first) {
  Hello hello;
  hello.kind = GuestKind::kCommand;
  hello.nonce[0] = first;
  return hello;
}

FrameDecoder in_step(const std::string& bytes) {
  FrameDecoder decoder;
  decoder.accept();
  decoder.feed(bytes);
  return decoder;
}

TEST(AgentProtocol, AFrameComesBackAsItWasSent) {
  std::string bytes;
  append_frame(bytes, 7, FrameType::kOutput, "some bytes");
  append_number(bytes, 8, FrameType::kExit, 137);
  FrameDecoder decoder = in_step(bytes);
  const auto output = decoder.next();
  ASSERT_TRUE(output);
  EXPECT_EQ(output->session, 7U);
  EXPECT_EQ(output->type, FrameType::kOutput);
  EXPECT_EQ(output->payload, "some bytes");
  const auto ended = decoder.next();
  ASSERT_TRUE(ended);
  EXPECT_EQ(decode_number(ended->payload), 137U);
  EXPECT_FALSE(decoder.next());
  EXPECT_FALSE(decoder.take_broken());
}

TEST(AgentProtocol, LongPayloadsAreCutAndEmptyOnesAreStillFrames) {
  std::string bytes;
  append_frame(bytes, 1, FrameType::kInput, std::string(kMaxPayloadBytes + 1, 'x'));
  append_frame(bytes, 1, FrameType::kInputEnd, "");
  FrameDecoder decoder = in_step(bytes);
  EXPECT_EQ(decoder.next()->payload.size(), kMaxPayloadBytes);
  EXPECT_EQ(decoder.next()->payload.size(), 1U);
  EXPECT_EQ(decoder.next()->type, FrameType::kInputEnd);
  EXPECT_FALSE(decoder.next());
}

TEST(AgentProtocol, HelloCarriesKindAndNonce) {
  std::string bytes;
  append_hello(bytes, make_hello(0xab));
  FrameDecoder decoder;
  decoder.feed(bytes);
  const auto frame = decoder.next();
  ASSERT_TRUE(frame);
  const auto hello = decode_hello(frame->payload);
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->version, kProtocolVersion);
  EXPECT_EQ(hello->kind, GuestKind::kCommand);
  EXPECT_EQ(hello->nonce[0], 0xab);
}

// A guest that restarts leaves a frame cut off anywhere, and begins anew with a hello.
TEST(AgentProtocol, FindsItsStepAgainAfterAnyCut) {
  std::string old;
  append_frame(old, 3, FrameType::kOutput, "layerboot-agent layerboot-agent\n and more of the kind");
  for (std::size_t cut = 0; cut <= old.size(); ++cut) {
    std::string bytes = old.substr(0, cut);
    append_hello(bytes, make_hello(1));
    append_number(bytes, 5, FrameType::kCredit, 9);
    FrameDecoder decoder;
    decoder.feed(bytes);
    const auto hello = decoder.next();
    ASSERT_TRUE(hello) << cut;
    ASSERT_TRUE(decode_hello(hello->payload)) << cut;
    decoder.accept();
    EXPECT_EQ(decoder.next()->session, 5U) << cut;
  }
}

TEST(AgentProtocol, NoFrameIsFollowedByASearchForAHello) {
  for (const std::string_view bad : {std::string_view("\0\0\0\0\0\0\0\0", 8),           // type 0
                                     std::string_view("\0\0\0\0\x0f\0\0\0", 8),         // type 15
                                     std::string_view("\0\0\0\0\x0b\x01\0\0", 8),       // not zero
                                     std::string_view("\0\0\0\0\x0b\0\x01\x40", 8)}) {  // one byte too long
    std::string bytes(bad);
    append_hello(bytes, make_hello(2));
    FrameDecoder decoder = in_step(bytes);
    const auto frame = decoder.next();
    EXPECT_TRUE(decoder.take_broken());
    EXPECT_FALSE(decoder.in_step());
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->type, FrameType::kHello);
  }
}

TEST(AgentProtocol, ShortNumbersAndForeignHellosAreNothing) {
  EXPECT_FALSE(decode_number("abc"));
  EXPECT_FALSE(decode_hello(""));
  EXPECT_FALSE(decode_hello(std::string(36, 'x')));
}

// Property: however the stream is cut into reads, the frames are the same, and the buffer stays small.
TEST(AgentProtocol, CutsOfTheStreamDoNotMatter) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  std::string bytes;
  append_hello(bytes, make_hello(3));
  std::vector<std::string> sent;
  for (unsigned i = 0; i < 200; ++i) {
    sent.emplace_back(random() % (i % 20 == 0 ? kMaxPayloadBytes : 100), static_cast<char>(random()));
    append_frame(bytes, i, FrameType::kError, sent.back());
  }
  FrameDecoder decoder;
  std::size_t received = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t size = std::min<std::size_t>(1 + random() % 3000, bytes.size() - at);
    decoder.feed(std::string_view(bytes).substr(at, size));
    at += size;
    while (const auto frame = decoder.next()) {
      if (frame->type == FrameType::kHello) {
        decoder.accept();
        continue;
      }
      ASSERT_EQ(frame->session, received);
      ASSERT_EQ(frame->payload, sent[received]);
      ++received;
    }
    ASSERT_LE(decoder.buffered_bytes(), kMaxPayloadBytes + kHeaderBytes + 3000);
  }
  EXPECT_EQ(received, sent.size());
}

TEST(AgentProtocol, OutOfStepNothingPilesUp) {
  FrameDecoder decoder;
  const std::string noise(100'000, 'n');
  for (int i = 0; i < 10; ++i) {
    decoder.feed(noise);
    EXPECT_FALSE(decoder.next());
    EXPECT_LT(decoder.buffered_bytes(), 64U);
  }
}

}  // namespace
}  // namespace guest_init
