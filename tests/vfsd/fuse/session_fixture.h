// A session on the fake file system, without any queue: requests are byte strings, replies too.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "tests/support/fake_file_system.h"
#include "tests/support/fake_guest_fuse.h"
#include "vfsd/fuse/session.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

/// A request and room for its reply, cut into slices of the sizes given (then of one byte more each).
class TestExchange final : public Exchange {
 public:
  TestExchange(std::span<const std::byte> request, std::size_t reply_bytes, std::size_t slice_bytes = 4096)
      : request_(request.begin(), request.end()), reply_(reply_bytes, std::byte{0xa5}) {
    readable_ = cut_up(request_, slice_bytes);
    writable_ = cut_up(reply_, slice_bytes);
  }
  [[nodiscard]] std::span<const iovec> readable() const override { return readable_; }
  [[nodiscard]] std::span<const iovec> writable() const override { return writable_; }
  void complete(std::size_t reply_bytes) override {
    EXPECT_FALSE(used_) << "completed twice";
    EXPECT_LE(reply_bytes, reply_.size());
    used_ = reply_bytes;
  }
  [[nodiscard]] bool completed() const { return used_.has_value(); }
  [[nodiscard]] std::span<const std::byte> reply() const {
    return std::span(reply_).first(used_.value_or(0));
  }
  [[nodiscard]] const std::vector<std::byte>& request() const { return request_; }

 private:
  static std::vector<iovec> cut_up(std::vector<std::byte>& bytes, std::size_t slice_bytes) {
    std::vector<iovec> slices;
    for (std::size_t done = 0; done < bytes.size();) {
      const std::size_t size = std::min(slice_bytes, bytes.size() - done);
      slices.push_back({bytes.data() + done, size});
      done += size;
    }
    return slices;
  }

  std::vector<std::byte> request_;
  std::vector<std::byte> reply_;
  std::vector<iovec> readable_;
  std::vector<iovec> writable_;
  std::optional<std::size_t> used_;
};

class SessionTest : public testing::Test {
 protected:
  using Parts = std::initializer_list<std::span<const std::byte>>;

  explicit SessionTest(SessionOptions options = {}) : session(fs, options) {
    reactor = std::move(*Reactor::create());
  }

  std::vector<std::byte> encode(std::uint32_t opcode, std::uint64_t node, Parts parts) {
    fuse_in_header header{};
    header.len = sizeof(header);
    for (const auto& part : parts) header.len += static_cast<std::uint32_t>(part.size());
    header.opcode = opcode;
    header.unique = unique += 2;
    header.nodeid = node;
    std::vector<std::byte> request(object_bytes(header).begin(), object_bytes(header).end());
    for (const auto& part : parts) request.insert(request.end(), part.begin(), part.end());
    return request;
  }
  /// The payload of the reply, judged as a guest does; an empty optional for no reply.
  Result<std::vector<std::byte>> exchange(std::span<const std::byte> request, std::size_t reply_bytes,
                                          std::size_t slice_bytes = 4096) {
    TestExchange exchange(request, reply_bytes, slice_bytes);
    session.handle(*reactor, exchange);
    EXPECT_TRUE(exchange.completed());
    if (exchange.reply().empty()) return fail(ENOMSG);
    return test::FuseClient::judge(request, exchange.reply());
  }
  Result<std::vector<std::byte>> call(std::uint32_t opcode, std::uint64_t node, Parts parts,
                                      std::size_t payload_bytes = 4096, std::size_t slice_bytes = 4096) {
    return exchange(encode(opcode, node, parts), sizeof(fuse_out_header) + payload_bytes, slice_bytes);
  }
  int code(std::uint32_t opcode, std::uint64_t node, Parts parts, std::size_t payload_bytes = 4096) {
    const auto result = call(opcode, node, parts, payload_bytes);
    return result ? 0 : result.error().code;
  }
  template <typename T>
  static T as(const Result<std::vector<std::byte>>& payload) {
    EXPECT_TRUE(payload) << payload.error().describe();
    return payload ? ByteReader(*payload).read<T>() : T{};
  }
  Result<fuse_init_out> init(std::uint32_t minor = 38, std::uint32_t flags = test::FuseClient::kEveryFlag,
                             std::uint32_t flags2 = ~0U, std::uint32_t major = 7) {
    fuse_init_in in{};
    in.major = major;
    in.minor = minor;
    in.max_readahead = 128U << 10;
    in.flags = flags;
    in.flags2 = flags2;
    const auto payload = call(FUSE_INIT, 0, {object_bytes(in)});
    if (!payload) return std::unexpected(payload.error());
    return ByteReader(*payload).read<fuse_init_out>();
  }

  test::FakeFileSystem fs;
  Session session;
  std::unique_ptr<Reactor> reactor;
  std::uint64_t unique = 0;
};

}  // namespace layerboot::vfsd::fuse
