// Exchange: one request on its way through the session, as its transport sees it.
//
// The transport (a queue worker, a test) implements it: it says where the request's bytes lie and takes the
// reply. The session declares it, so that it never sees a virtqueue.
#pragma once

#include <linux/fuse.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vfsd/fuse/gate.h"

namespace layerboot::vfsd::fuse {

/// Reused for request after request, so that its working memory is allocated once. The transport may give
/// back what that has grown to when the request is completed. Lives from Session::handle() until complete()
/// is called, which happens exactly once, on the reactor's thread; the session does not touch it afterwards.
/// The memory that the iovecs name belongs to a peer who may change it at any time.
class Exchange {
 public:
  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  [[nodiscard]] virtual std::span<const iovec> readable() const = 0;
  [[nodiscard]] virtual std::span<const iovec> writable() const = 0;
  /// The reply is in the writable memory: its first `reply_bytes`; 0 when the request gets none.
  virtual void complete(std::size_t reply_bytes) = 0;

  // The session's working memory; the transport leaves it alone.
  fuse_in_header header{};
  std::vector<std::byte> body;      // this side's only copy of what follows the header
  std::vector<iovec> data;          // the part of the iovecs that holds file data
  std::uint64_t valid_seconds = 0;  // how long the client may believe entries and attributes
  Gate::Pass pass;                  // until the reply

 protected:
  ~Exchange() = default;
};

}  // namespace layerboot::vfsd::fuse
