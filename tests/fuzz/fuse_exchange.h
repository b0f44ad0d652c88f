// One FUSE request of a fuzzer, and what must hold for its answer whatever the request was.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/reactor.h"
#include "vfsd/fuse/session.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

class FuzzExchange final : public Exchange {
 public:
  FuzzExchange(std::span<const std::byte> request, std::size_t room, std::size_t slice_bytes)
      : request_(request.begin(), request.end()), reply_(room) {
    cut(request_, slice_bytes, readable_);
    cut(reply_, slice_bytes, writable_);
  }
  [[nodiscard]] std::span<const iovec> readable() const override { return readable_; }
  [[nodiscard]] std::span<const iovec> writable() const override { return writable_; }
  void complete(std::size_t reply_bytes) override {
    if (completed || reply_bytes > reply_.size()) std::abort();
    completed = true;
    if (waiting_on_ != nullptr) waiting_on_->stop();
    if (reply_bytes == 0) return;
    const auto out = ByteReader(reply_).read<fuse_out_header>();
    if (out.len != reply_bytes || out.unique != header.unique) std::abort();
    if (out.error > 0 || out.error <= -1000 || (out.error != 0 && reply_bytes != sizeof(out))) std::abort();
  }
  [[nodiscard]] std::span<const std::byte> reply() const { return reply_; }
  /// Until the answer is there.
  void wait(Reactor& reactor) {
    if (completed) return;
    waiting_on_ = &reactor;
    reactor.run();
    if (!completed) std::abort();
  }
  bool completed = false;

 private:
  static void cut(std::vector<std::byte>& bytes, std::size_t slice_bytes, std::vector<iovec>& slices) {
    for (std::size_t done = 0; done < bytes.size(); done += slice_bytes) {
      slices.push_back({bytes.data() + done, std::min(slice_bytes, bytes.size() - done)});
    }
  }
  Reactor* waiting_on_ = nullptr;
  std::vector<std::byte> request_;
  std::vector<std::byte> reply_;
  std::vector<iovec> readable_;
  std::vector<iovec> writable_;
};

/// The guest's INIT.
inline void introduce(Session& session, Reactor& reactor) {
  struct {
    fuse_in_header header{};
    fuse_init_in in{};
  } request;
  request.header.len = sizeof(request);
  request.header.opcode = FUSE_INIT;
  request.in.major = 7;
  request.in.minor = 38;
  FuzzExchange exchange(object_bytes(request), 200, 64);
  session.handle(reactor, exchange);
}

/// The most that one input asks.
inline constexpr std::size_t kMaxRequests = 48;

inline bool gives_node(std::uint32_t opcode) {
  return opcode == FUSE_LOOKUP || opcode == FUSE_MKNOD || opcode == FUSE_MKDIR || opcode == FUSE_SYMLINK ||
         opcode == FUSE_LINK || opcode == FUSE_CREATE || opcode == FUSE_TMPFILE;
}

/// Requests in sequence: well-formed as to their header, any bytes behind it, of nodes that the file system
/// has given out or that it has not.
///
/// Input: for each one byte of opcode, one of node, two of body length, and the body. A node byte from kGiven
/// on means one of those that came in replies.
inline void ask_all(Session& session, Reactor& reactor, std::span<const std::byte> bytes) {
  constexpr std::size_t kMaxBody = 8192;
  constexpr std::size_t kReplyRoom = 16384;
  constexpr std::uint8_t kGiven = 64;
  std::vector<std::uint64_t> given{FUSE_ROOT_ID};
  ByteReader input(bytes);
  for (std::size_t i = 0; i < kMaxRequests && !input.rest().empty(); ++i) {
    fuse_in_header header{};
    header.opcode = input.read<std::uint8_t>();
    const auto node = input.read<std::uint8_t>();
    header.nodeid = node >= kGiven ? given[node % given.size()] : node;
    header.unique = i + 2;
    const std::size_t length =
        std::min<std::size_t>(input.read<std::uint16_t>() % kMaxBody, input.rest().size());
    const auto body = input.take(length);
    header.len = static_cast<std::uint32_t>(sizeof(header) + body.size());
    std::vector<std::byte> request(header.len);
    std::memcpy(request.data(), &header, sizeof(header));
    if (!body.empty()) std::memcpy(request.data() + sizeof(header), body.data(), body.size());
    FuzzExchange exchange(request, kReplyRoom, 4096);
    session.handle(reactor, exchange);
    exchange.wait(reactor);
    ByteReader reply(exchange.reply());
    const auto out = reply.read<fuse_out_header>();
    if (out.error == 0 && out.len > sizeof(out) && gives_node(header.opcode)) {
      if (const auto id = reply.read<std::uint64_t>(); id != 0) given.push_back(id);
    }
  }
}

}  // namespace layerboot::vfsd::fuse
