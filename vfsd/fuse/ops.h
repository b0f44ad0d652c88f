// The operations behind the session's dispatch table: decode, call the file system, reply.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/task.h"
#include "oci-mount/vfs/types.h"
#include "vfsd/fuse/exchange.h"
#include "vfsd/fuse/privileges.h"
#include "vfsd/fuse/reader.h"
#include "vfsd/fuse/reply.h"

namespace layerboot::vfsd::fuse {

/// One request, decoded as far as every operation needs. Lives until the handler returns; what a Task's end
/// needs is in `exchange`.
struct Call {
  vfs::FileSystem& fs;
  Reactor& reactor;
  Exchange& exchange;
  PendingDrops& drops;
  BodyReader body;
  std::uint64_t agreed = 0;            // flags of FUSE_INIT
  std::optional<std::uint32_t> group;  // that the caller is in, too

  [[nodiscard]] bool has_agreed_to(std::uint64_t flag) const { return (agreed & flag) != 0; }
  [[nodiscard]] vfs::NodeId node() const { return exchange.header.nodeid; }
  /// `umask`: of who makes an object; a client that has not agreed to leave it to us has applied it itself.
  [[nodiscard]] vfs::Caller caller(std::uint32_t umask = 0) const {
    return {.uid = exchange.header.uid,
            .gid = exchange.header.gid,
            .also_in = group,
            .umask = has_agreed_to(FUSE_DONT_MASK) ? umask & kAccessBits : 0};
  }
  /// Whether the caller has asked to take this file's set-id bits away with this.
  [[nodiscard]] bool takes_set_id(vfs::NodeId node) const { return drops.take(node, exchange.header.pid); }
  void malformed() const { reply_errno(exchange, EINVAL); }
};

struct Operation {
  void (*handle)(Call&) = nullptr;
  /// Payload the reply must have room for; with less, the request is refused before it does anything.
  std::uint32_t reply_bytes = 0;
  /// How much of the body is copied; beyond it lies file data. 0: all of it.
  std::uint32_t copied_bytes = 0;
  bool mutates = false;   // refused when the session is read-only
  bool no_reply = false;  // FORGET and its like: never answered, whatever happens
};

/// Null for an opcode that this server does not know.
[[nodiscard]] const Operation* find_namespace_operation(std::uint32_t opcode);
[[nodiscard]] const Operation* find_io_operation(std::uint32_t opcode);

/// Starts `task`; on success calls `on_success(exchange, value)`, else replies with the error.
template <typename T, typename OnSuccess>
void reply_when_done(Exchange& exchange, Task<Result<T>> task, OnSuccess on_success) {
  start(std::move(task), [&exchange, on_success](Result<T> result) {
    if (!result) {
      reply_error(exchange, result.error());
    } else if constexpr (std::is_void_v<T>) {
      on_success(exchange);
    } else {
      on_success(exchange, *result);
    }
  });
}

/// FOPEN_ flags.
[[nodiscard]] inline std::uint32_t open_flags(const vfs::Opened& opened) {
  return opened.keep_pages ? std::uint32_t{FOPEN_KEEP_CACHE} : 0U;
}

inline void reply_result(Exchange& exchange, const Result<void>& result) {
  if (result) {
    reply_ok(exchange);
  } else {
    reply_error(exchange, result.error());
  }
}

}  // namespace layerboot::vfsd::fuse
