#include "vfsd/fuse/reply.h"

#include "tests/vfsd/fuse/session_fixture.h"

namespace layerboot::vfsd::fuse {
namespace {

fuse_out_header header_of(const TestExchange& exchange) {
  return ByteReader(exchange.reply()).read<fuse_out_header>();
}

TEST(Reply, LengthIsWhatIsReportedAsUsed) {
  for (const std::size_t slice : {1U, 5U, 16U, 100U}) {
    TestExchange exchange({}, 64, slice);
    exchange.header.unique = 42;
    reply_text(exchange, "payload");
    EXPECT_EQ(exchange.reply().size(), sizeof(fuse_out_header) + 7);
    EXPECT_EQ(header_of(exchange).len, exchange.reply().size());
    EXPECT_EQ(header_of(exchange).unique, 42U);
    EXPECT_EQ(as_text(exchange.reply().subspan(sizeof(fuse_out_header))), "payload");
  }
}

TEST(Reply, WhatDoesNotFitIsAnError) {
  TestExchange exchange({}, 20);
  reply_text(exchange, "payload");
  EXPECT_EQ(header_of(exchange).error, -EIO);
  EXPECT_EQ(exchange.reply().size(), sizeof(fuse_out_header));
  TestExchange none({}, 15);
  reply_ok(none);
  EXPECT_TRUE(none.reply().empty());
}

TEST(Reply, ErrorsStayInTheProtocolsRange) {
  const auto replied = [](int code) {
    TestExchange exchange({}, 64);
    reply_error(exchange, Error{code, "why"});
    return -header_of(exchange).error;
  };
  EXPECT_EQ(replied(ENOSPC), ENOSPC);
  EXPECT_EQ(replied(ENOSYS), EOPNOTSUPP);
  EXPECT_EQ(replied(0), EIO);
  EXPECT_EQ(replied(-5), EIO);
  EXPECT_EQ(replied(1000), EIO);
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
