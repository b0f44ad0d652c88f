// Replies: the out header and what follows it, written into scattered guest memory.
//
// The only door of vfsd where an Error becomes an errno that a guest sees. Each function completes the
// exchange; out.len is always what is reported as used (Linux checks it since 2026), and never more than
// there is room for.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "oci-mount/base/result.h"
#include "vfsd/fuse/exchange.h"

namespace layerboot::vfsd::fuse {

/// The request gets no reply (FORGET, INTERRUPT, or no room for a header).
void reply_none(Exchange& exchange);

/// `code` as it is; ENOSYS only where the caller means the guest to remember it.
void reply_errno(Exchange& exchange, int code);

/// The errno for `error`. A host's ENOSYS becomes EOPNOTSUPP: a FUSE client would never ask again.
void reply_error(Exchange& exchange, const Error& error);

/// Success without a payload.
void reply_ok(Exchange& exchange);

/// Success with a payload; EIO if it does not fit.
void reply_bytes(Exchange& exchange, std::span<const std::byte> payload);
void reply_text(Exchange& exchange, std::string_view payload);

template <typename T>
void reply_object(Exchange& exchange, const T& payload) {
  reply_bytes(exchange, {reinterpret_cast<const std::byte*>(&payload), sizeof(T)});
}

/// Success with `payload_bytes` that are in their place behind the header already.
void reply_in_place(Exchange& exchange, std::size_t payload_bytes);

}  // namespace layerboot::vfsd::fuse
