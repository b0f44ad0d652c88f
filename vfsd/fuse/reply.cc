#include "vfsd/fuse/reply.h"

#include <utility>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/io_slices.h"
#include "oci-mount/base/log.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

namespace {

/// Linux rejects a reply whose error is not in (-1000, 0].
constexpr int kMaxErrno = 999;

void complete(Exchange& exchange, std::size_t reply_bytes) {
  const Gate::Pass until_told = std::move(exchange.pass);
  exchange.complete(reply_bytes);
}

void finish(Exchange& exchange, int code, std::size_t payload_bytes) {
  fuse_out_header out{};
  out.len = static_cast<std::uint32_t>(sizeof(out) + payload_bytes);
  out.error = -code;
  out.unique = exchange.header.unique;
  const auto written = copy_into_slices(exchange.writable(), 0, object_bytes(out));
  complete(exchange, written == sizeof(out) ? out.len : 0);
}

}  // namespace

void reply_none(Exchange& exchange) { complete(exchange, 0); }

void reply_errno(Exchange& exchange, int code) { finish(exchange, code, 0); }

void reply_error(Exchange& exchange, const Error& error) {
  if (!error.text.empty()) {
    log_debug("request ", exchange.header.opcode, " on node ", exchange.header.nodeid, ": ", error.text);
  }
  int code = error.code;
  if (code == ENOSYS) code = EOPNOTSUPP;
  if (code <= 0 || code > kMaxErrno) code = EIO;
  finish(exchange, code, 0);
}

void reply_ok(Exchange& exchange) { finish(exchange, 0, 0); }

void reply_bytes(Exchange& exchange, std::span<const std::byte> payload) {
  const auto copied = copy_into_slices(exchange.writable(), sizeof(fuse_out_header), payload);
  if (copied == payload.size()) {
    finish(exchange, 0, payload.size());
  } else {
    finish(exchange, EIO, 0);
  }
}

void reply_text(Exchange& exchange, std::string_view payload) { reply_bytes(exchange, as_bytes(payload)); }

void reply_in_place(Exchange& exchange, std::size_t payload_bytes) { finish(exchange, 0, payload_bytes); }

}  // namespace layerboot::vfsd::fuse
