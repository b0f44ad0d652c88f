#include "oci-mount/vfs/writable_fs.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace layerboot::vfs {

namespace {

constexpr std::size_t kPieceBytes = 1U << 20;
/// Copied at once; the client asks again for the rest.
constexpr std::uint64_t kMaxCopyBytes = 16U << 20;

}  // namespace

Task<Result<std::size_t>> WritableFs::copy_file_range(Reactor& reactor, NodeId from,
                                                      std::uint64_t from_offset, NodeId to,
                                                      std::uint64_t to_offset, std::uint64_t length_bytes) {
  const std::uint64_t wanted = std::min(length_bytes, kMaxCopyBytes);
  const std::uint64_t apart = from_offset > to_offset ? from_offset - to_offset : to_offset - from_offset;
  if (from == to && apart < length_bytes) co_return fail(EINVAL);
  std::vector<std::byte> buffer(std::min<std::uint64_t>(wanted, kPieceBytes));
  std::size_t done = 0;
  while (done < wanted) {
    const iovec into{buffer.data(), std::min<std::size_t>(wanted - done, buffer.size())};
    auto got = co_await overlay_->read(reactor, from, from_offset + done, {&into, 1});
    if (!got && done == 0) co_return std::unexpected(std::move(got).error());
    if (!got || *got == 0) break;
    const iovec piece{buffer.data(), *got};
    // Nobody tells whether the caller may keep set-id bits: they go, as with a write of most callers.
    auto put = co_await overlay_->write(reactor, to, to_offset + done, {&piece, 1}, true);
    if (!put && done == 0) co_return std::unexpected(std::move(put).error());
    if (!put) break;
    done += *put;
    if (*put < *got) break;
  }
  co_return done;
}

}  // namespace layerboot::vfs
