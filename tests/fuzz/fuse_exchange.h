// One FUSE request of a fuzzer, and what must hold for its answer whatever the request was.
#pragma once

#include <algorithm>
#include <cstdlib>
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

}  // namespace layerboot::vfsd::fuse
