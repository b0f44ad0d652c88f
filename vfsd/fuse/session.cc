#include "vfsd/fuse/session.h"

#include <algorithm>

#include "oci-mount/base/io_slices.h"
#include "oci-mount/base/log.h"
#include "vfsd/fuse/extensions.h"
#include "vfsd/fuse/ops.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

namespace {

/// What is agreed to, of what the client offers. Left out on purpose: ATOMIC_O_TRUNC (nobody would truncate,
/// as OPEN is never sent), AUTO_INVAL_DATA, READDIRPLUS_AUTO, POSIX_LOCKS, FLOCK_LOCKS, EXPORT_SUPPORT,
/// HANDLE_KILLPRIV (contradicts V2). WRITEBACK_CACHE is for who asks for it, ASYNC_DIO for who only reads.
/// POSIX_ACL takes DONT_MASK, as a default ACL replaces the umask, and SETXATTR_EXT, which says when an ACL
/// takes set-group-id away.
constexpr std::uint64_t kWanted =
    FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_HAS_IOCTL_DIR | FUSE_DO_READDIRPLUS | FUSE_NO_OPEN_SUPPORT |
    FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT |
    FUSE_EXPLICIT_INVAL_DATA | FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT | FUSE_POSIX_ACL | FUSE_DONT_MASK |
    FUSE_SETXATTR_EXT | kInitCreateSuppGroup | kInitDirectIoAllowMmap | kInitAllowIdmap;
constexpr std::uint64_t kZeroMessageFlags = FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT;
constexpr std::uint64_t kAclFlags = FUSE_POSIX_ACL | FUSE_DONT_MASK | FUSE_SETXATTR_EXT;

/// Of a directory that others change: pages are good while the file is as it was, links and listings as long
/// as any entry; who has a file open is told, by OPEN and RELEASE. What is mounted there is a mount of the
/// client's, too, with inode numbers of its own.
constexpr std::uint64_t kWantedShared = FUSE_AUTO_INVAL_DATA | FUSE_SUBMOUNTS;
constexpr std::uint64_t kUnwantedShared =
    FUSE_EXPLICIT_INVAL_DATA | FUSE_CACHE_SYMLINKS | FUSE_NO_OPEN_SUPPORT;

const Operation* find_operation(std::uint32_t opcode) {
  const Operation* found = find_io_operation(opcode);
  return found != nullptr ? found : find_namespace_operation(opcode);
}

bool is_known(std::uint32_t opcode, const Operation* operation) {
  return operation != nullptr || opcode == FUSE_INIT || opcode == FUSE_DESTROY;
}

bool is_silent(const Operation* operation) { return operation != nullptr && operation->no_reply; }

/// Copies the header and the part of the body that is not file data; 0, or the errno to reply.
int copy_request(Exchange& exchange, const Operation*& operation) {
  const auto readable = exchange.readable();
  exchange.header = {};
  auto& header = exchange.header;
  const std::span into(reinterpret_cast<std::byte*>(&header), sizeof(header));
  if (copy_from_slices(readable, 0, into) != sizeof(header)) {
    header = {};
    return EINVAL;
  }
  operation = find_operation(header.opcode);
  if (header.len < sizeof(header) || header.len > total_bytes(readable)) return EINVAL;
  std::size_t body_bytes = header.len - sizeof(header);
  if (!is_known(header.opcode, operation)) {
    body_bytes = 0;  // what a later protocol puts there is not ours to judge
  } else if (operation != nullptr && operation->copied_bytes != 0) {
    body_bytes = std::min<std::size_t>(body_bytes, operation->copied_bytes);
  }
  if (body_bytes > kMaxBodyBytes) return EINVAL;
  exchange.body.resize(body_bytes);
  copy_from_slices(readable, sizeof(header), exchange.body);  // as long as header.len says, checked above
  return 0;
}

}  // namespace

void Session::handle(Reactor& reactor, Exchange& exchange) {
  const Operation* operation = nullptr;
  int refused = copy_request(exchange, operation);
  const auto opcode = exchange.header.opcode;
  exchange.valid_seconds = options_.shared ? kSharedSeconds : kForeverSeconds;
  const std::size_t room = total_bytes(exchange.writable());
  const auto let_in = [this, &exchange] {
    exchange.pass = gate_.enter();
    return exchange.pass && initialised();
  };
  if (is_silent(operation)) {
    if (refused != 0 || !let_in()) return reply_none(exchange);
  } else {
    // Without room for a header nothing is done: its outcome could not be told.
    if (room < sizeof(fuse_out_header)) return reply_none(exchange);
    if (refused != 0) return reply_errno(exchange, refused);
    if (opcode == FUSE_INIT) return handle_init(reactor, exchange);
    if (!let_in()) return reply_errno(exchange, EIO);
    if (opcode == FUSE_DESTROY) return handle_destroy(reactor, exchange);
    if (operation == nullptr) return reply_errno(exchange, ENOSYS);
    if (room - sizeof(fuse_out_header) < operation->reply_bytes) return reply_errno(exchange, EINVAL);
    if (operation->mutates && options_.read_only) return reply_errno(exchange, EROFS);
  }
  const std::uint64_t agreed = agreed_.load(std::memory_order_relaxed);
  std::span<const std::byte> body = exchange.body;
  Extensions extensions;
  if ((agreed & kInitCreateSuppGroup) != 0 && exchange.header.total_extlen != 0) {
    constexpr std::size_t kUnitBytes = 8;
    extensions = take_extensions(body, exchange.header.total_extlen * kUnitBytes);
    if (extensions.malformed) {
      return is_silent(operation) ? reply_none(exchange) : reply_errno(exchange, EINVAL);
    }
  }
  Call call{fs_, reactor, exchange, drops_, BodyReader(body), agreed, extensions.group};
  operation->handle(call);
}

void Session::handle_init(Reactor& reactor, Exchange& exchange) {
  BodyReader body(exchange.body);
  struct Oldest {
    std::uint32_t major, minor, max_readahead, flags;
  };
  const auto in = body.take<Oldest>();
  if (!body.ok()) return reply_errno(exchange, EINVAL);
  // A client of a later major asks again with ours.
  if (in.major > kMajor) {
    fuse_init_out out{};
    out.major = kMajor;
    out.minor = kMinor;
    return reply_object(exchange, out);
  }
  if (in.major < kMajor || in.minor < kOldestMinor) {
    refused_clients_.warn("the guest's FUSE ", in.major, ".", in.minor,
                          " is too old: it needs Linux 5.4 or later");
    return reply_errno(exchange, EPROTO);
  }
  std::uint64_t offered = in.flags;
  if ((in.flags & FUSE_INIT_EXT) != 0 && body.rest_bytes() >= sizeof(std::uint32_t)) {
    offered |= static_cast<std::uint64_t>(body.take<std::uint32_t>()) << 32;
  }
  if (total_bytes(exchange.writable()) < sizeof(fuse_out_header) + sizeof(fuse_init_out)) {
    return reply_errno(exchange, EINVAL);
  }
  reply_when_done(exchange, begin(reactor, {in.major, in.minor, in.max_readahead, offered}),
                  [](Exchange& to, const fuse_init_out& out) { reply_object(to, out); });
}

/// A guest that was reset says INIT again without DESTROY: whatever it held is gone, and what it has asked
/// for ends first. The first finds the file system as it was opened, which took a walk of the upper where the
/// last session did not end in order.
Task<Result<fuse_init_out>> Session::begin(Reactor& reactor, Introduction client) {
  const auto alone = co_await gate_.close(reactor);
  if (had_client_.exchange(true, std::memory_order_relaxed)) fs_.reset();
  drops_.clear();
  const std::uint64_t agreed = agree_to(client.offered);
  agreed_.store(agreed, std::memory_order_relaxed);
  fuse_init_out out{};
  out.major = kMajor;
  out.minor = std::min(client.minor, kMinor);
  out.max_readahead = client.max_readahead;
  out.flags = static_cast<std::uint32_t>(agreed);
  out.flags2 = static_cast<std::uint32_t>(agreed >> 32);
  out.max_background = kMaxBackground;
  out.congestion_threshold = kCongestionThreshold;
  out.max_write = kMaxWriteBytes;
  out.max_pages = kMaxPages;
  out.time_gran = 1;
  initialised_.store(true, std::memory_order_relaxed);
  log_debug("the guest's first sign of life: FUSE ", client.major, ".", client.minor);
  co_return out;
}

std::uint64_t Session::agree_to(std::uint64_t offered) const {
  const std::uint64_t wanted = options_.shared ? (kWanted | kWantedShared) & ~kUnwantedShared : kWanted;
  std::uint64_t agreed = offered & wanted;
  if ((agreed & kAclFlags) != kAclFlags) agreed &= ~kAclFlags;
  // It has none, and a client that heeds ACLs would not take that for an answer.
  if (options_.shared) agreed &= ~std::uint64_t{FUSE_POSIX_ACL};
  if (!options_.zero_message_open) agreed &= ~kZeroMessageFlags;
  if (options_.writeback && !options_.shared) agreed |= offered & FUSE_WRITEBACK_CACHE;
  // Linux drops the pages of what is written directly before it sends that, and after it only if it has
  // waited: with ASYNC_DIO a page that somebody reads meanwhile stays as it was, for good.
  if (options_.read_only) agreed |= offered & FUSE_ASYNC_DIO;
  return agreed;
}

void Session::handle_destroy(Reactor& reactor, Exchange& exchange) {
  initialised_.store(false, std::memory_order_relaxed);
  reply_when_done(exchange, fs_.syncfs(reactor), reply_ok);
}

}  // namespace layerboot::vfsd::fuse
