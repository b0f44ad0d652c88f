// Session: FUSE requests in, calls of the file system, replies out.
//
// Every byte of a request is untrusted: a malformed one gets EINVAL, a malformed FORGET gets nothing, and
// none stops the process. What can't wait is answered before handle() returns; the rest when its Task ends.
// FUSE_INIT waits until all that the former client has asked for has ended; what comes meanwhile is refused.
// Decisions on what is negotiated and why: vfsd/DESIGN.md.
#pragma once

#include <atomic>
#include <cstdint>

#include "oci-mount/base/log_limit.h"
#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/task.h"
#include "oci-mount/vfs/types.h"
#include "vfsd/fuse/exchange.h"
#include "vfsd/fuse/gate.h"
#include "vfsd/fuse/privileges.h"

namespace layerboot::vfsd::fuse {

struct SessionOptions {
  bool read_only = false;  // every operation that would change something fails with EROFS
  /// OPEN and OPENDIR are waived for clients that can do without. Off only to measure what that spares. With
  /// `shared` it is OPENDIR alone.
  bool zero_message_open = true;
  /// Others change what is served: the client remembers nothing for longer than kSharedSeconds, and asks
  /// before it believes its pages.
  bool shared = false;
  /// The client keeps what is written and sends it later, and owns sizes and times of files meanwhile. Not
  /// with `shared`.
  bool writeback = false;
};

/// One for a client, driven by all its queues. Thread-safe.
class Session {
 public:
  /// `file_system` must outlive the session and every exchange given to it.
  Session(vfs::FileSystem& file_system, SessionOptions options) : fs_(file_system), options_(options) {}

  /// Handles one request; `exchange` is completed now or later on this thread, which runs `reactor`.
  void handle(Reactor& reactor, Exchange& exchange);

  /// A client has introduced itself (FUSE_INIT) and not said goodbye (FUSE_DESTROY).
  [[nodiscard]] bool initialised() const { return initialised_.load(std::memory_order_relaxed); }
  /// Forgets the client, as at a disconnect: the next one has to introduce itself.
  void forget_client() { initialised_.store(false, std::memory_order_relaxed); }

 private:
  /// A client's first words, as far as they are understood.
  struct Introduction {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    std::uint32_t max_readahead = 0;
    std::uint64_t offered = 0;
  };
  void handle_init(Reactor& reactor, Exchange& exchange);
  Task<Result<fuse_init_out>> begin(Reactor& reactor, Introduction client);
  [[nodiscard]] std::uint64_t agree_to(std::uint64_t offered) const;
  void handle_destroy(Reactor& reactor, Exchange& exchange);

  vfs::FileSystem& fs_;
  const SessionOptions options_;
  std::atomic<bool> initialised_ = false;
  std::atomic<bool> had_client_ = false;
  std::atomic<std::uint64_t> agreed_ = 0;  // FUSE_INIT's flags of the present client
  PendingDrops drops_;
  Gate gate_;
  LogLimit refused_clients_;
};

}  // namespace layerboot::vfsd::fuse
