#include "oci-mount/mount/cat.h"

#include <sys/stat.h>

#include <cstddef>
#include <vector>

#include "oci-mount/mount/output.h"
#include "oci-mount/mount/resolve.h"

namespace layerboot::mount {

namespace {

constexpr std::size_t kPieceBytes = 1024 * 1024;

}  // namespace

Result<void> cat(const overlay::Lower& lower, Reactor& reactor, std::string_view path, int out_fd) {
  LB_ASSIGN(const tree::NodeId id, resolve(lower.tree, path, LastSymlink::kFollow));
  const tree::NodeRecord& node = lower.tree.node(id);
  if (S_ISDIR(node.mode)) return fail(EISDIR, path, ": is a directory");
  if (!S_ISREG(node.mode))
    return fail(EINVAL, path, ": is no file but a device or a pipe, which has no bytes here");
  std::vector<std::byte> piece(kPieceBytes);
  const iovec slice{piece.data(), piece.size()};
  for (std::uint64_t offset = 0; offset < node.size_bytes;) {
    const auto got = reactor.block_on(lower.read(reactor, id, offset, std::span(&slice, 1)));
    if (!got) return while_doing(got.error(), path);
    if (*got == 0) return fail(EIO, path, ": ends before its size");
    LB_TRY(write_out(out_fd, std::span(piece).first(*got)));
    offset += *got;
  }
  return {};
}

}  // namespace layerboot::mount
