// What becomes of files' data on the host: syncing, allocating, seeking, copying.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "oci-mount/base/buffer.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

namespace {

constexpr std::size_t kPieceBytes = 1U << 20;
/// Copied at once; the client asks again for the rest.
constexpr std::uint64_t kMaxCopyBytes = 16U << 20;

}  // namespace

/// Of an object and the directories above it, the lowest whose name may be in no committed transaction.
NodePtr Overlay::first_not_durable(NodePtr node) {
  for (; node && node->parent; node = node->parent) {
    if (!node->way.is_durable()) return node;
  }
  return nullptr;
}

/// Makes the names in a directory durable, and with them the copies and marks that they need.
Task<Result<void>> Overlay::sync_names(Reactor& reactor, int directory_fd) {
  bool with_marks = false;
  {
    const std::lock_guard lock(parts_.mutex);
    with_marks = parts_.ledger.tariff().syncs_names_alone() && !parts_.objects.marks_are_durable();
  }
  if (with_marks) {
    auto synced = co_await syncfs(reactor);
    co_return synced;
  }
  const auto synced = co_await reactor.fsync(directory_fd, false);
  co_return synced ? Result<void>() : std::unexpected(synced.error());
}

/// The names that copy-ups have made on the way to an object: what its own fsync(2) carries along of them is
/// up to the host's file system. Each is synced once, not at every fsync.
Task<Result<void>> Overlay::sync_way(Reactor& reactor, NodePtr node, std::uint32_t changes) {
  for (NodePtr from = node;;) {
    NodePtr named;
    FdCache::Fd directory;
    {
      const std::lock_guard lock(parts_.mutex);
      named = first_not_durable(from);
      if (!named) co_return Result<void>();
      if (named != node) changes = named->way.changes;
      LB_CO_ASSIGN(directory, parts_.places.directory_fd(named->parent));
    }
    auto synced = co_await sync_names(reactor, directory->get());
    if (!synced) co_return synced;
    const std::lock_guard lock(parts_.mutex);
    named->way.synced = changes;
    from = named->parent;  // upwards, so that it ends
  }
}

/// The host tells an error of write-back once by each descriptor: where a worker has had it write, that was
/// told instead of this request.
Task<Result<void>> Overlay::error_told_to_worker(Reactor& reactor, Node& file) {
  for (;;) {
    {
      const std::lock_guard lock(parts_.mutex);
      if (!file.file.is_written_out) {
        const int error = std::exchange(file.file.write_error, 0);
        co_return error == 0 ? Result<void>() : fail(error);
      }
    }
    co_await parts_.settling.end_of_writing(reactor, file);
  }
}

Task<Result<void>> Overlay::fsync(Reactor& reactor, NodeId id, bool data_only) {
  std::optional<Pin> pin;  // outlives the locks
  FdCache::Fd fd;
  bool way_is_durable = true;
  std::uint32_t changes = 0;
  std::uint32_t namings = 0;
  {
    const std::lock_guard lock(parts_.mutex);
    LB_CO_ASSIGN(const Ref ref, parts_.nodes.find(id));
    if (!ref.node || !ref.node->has_body() || ref.node->is_gone())
      co_return Result<void>();  // nothing to lose
    pin.emplace(parts_.objects, ref.node);
    if (ref.node->is_directory()) {
      LB_CO_ASSIGN(fd, parts_.places.directory_fd(ref.node));
    } else {
      LB_CO_ASSIGN(fd, parts_.places.file_fd(ref.node));
    }
    way_is_durable = first_not_durable(ref.node) == nullptr;
    changes = ref.node->way.changes;
    namings = ref.node->file.own_name.changes;
    // The host's fdatasync(2) leaves out the names and marks that came since the last write of its inode.
    if (!ref.node->way.is_durable() || !ref.node->file.own_name.is_durable()) data_only = false;
  }
  if (pin->node()->is_directory()) {
    auto synced = co_await sync_names(reactor, fd->get());
    if (!synced) co_return synced;
  } else {
    auto synced = co_await reactor.fsync(fd->get(), data_only);
    auto told = co_await error_told_to_worker(reactor, *pin->node());
    if (!synced) co_return std::unexpected(synced.error());
    if (!told) co_return told;
  }
  if (!way_is_durable) {
    auto way_synced = co_await sync_way(reactor, pin->node(), changes);
    if (!way_synced) co_return way_synced;
  }
  const std::lock_guard lock(parts_.mutex);
  Node& node = *pin->node();
  node.file.own_name.synced = namings;  // not what was named meanwhile
  if (node.is_regular() && !node.is_gone()) {
    // Only now has the host allocated what it had delayed, with blocks for its tree of extents on top.
    parts_.objects.book_data(node, fd->get());
  }
  co_return Result<void>();
}

/// A request of fallocate(2).
struct Overlay::Allocation {
  std::uint32_t mode = 0;
  std::uint64_t offset = 0;
  std::uint64_t end = 0;
  bool keeps_what_is_cut = false;  // the host: Tariff

  [[nodiscard]] bool frees() const { return (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE)) != 0; }
  [[nodiscard]] bool inserts() const { return (mode & FALLOC_FL_INSERT_RANGE) != 0; }
  [[nodiscard]] bool makes_hole() const { return frees() || inserts(); }
  /// Zeroed, it has other blocks, and the old ones stay as long as one of their extent is left.
  [[nodiscard]] bool replaces() const { return keeps_what_is_cut && (mode & FALLOC_FL_ZERO_RANGE) != 0; }
  [[nodiscard]] bool is_alone() const { return keeps_what_is_cut && (makes_hole() || replaces()); }
  [[nodiscard]] std::uint64_t block_bytes() const { return block_end(end) - block_start(offset); }
  /// What may be allocated by more than its ends.
  [[nodiscard]] std::uint64_t most_bytes() const { return frees() ? 0 : block_bytes(); }
  /// Of blocks that are in it by a part alone: the rest of those is written over.
  [[nodiscard]] std::uint64_t edge_bytes() const {
    const bool has_first = offset % kDataBlockBytes != 0;
    const bool has_last =
        end % kDataBlockBytes != 0 && !(has_first && block_start(end) == block_start(offset));
    return (has_first ? kDataBlockBytes : 0) + (has_last ? kDataBlockBytes : 0);
  }
};

Result<void> Overlay::prepare_allocation(const NodePtr& node, const Allocation& wanted,
                                         AllocationGrant& grant) {
  const std::lock_guard lock(parts_.mutex);
  if (node->is_gone()) return fail(ENOENT);  // its number may be another's
  grant.waits = !grant.alone.holds() && !FileTurns::may_change(*node);
  if (grant.waits) return {};
  LB_ASSIGN(grant.fd, parts_.places.file_fd(node));
  const int fd = grant.fd->get();
  LB_TRY(drop_capability(*node, {fd, ""}));
  std::uint64_t taken_bytes = wanted.most_bytes();
  if (grant.alone.holds()) {
    node->known.valid = false;
    LB_TRY(parts_.objects.attr_of(*node));
    if (wanted.frees() && takes_overwrites(*node, fd)) taken_bytes = wanted.edge_bytes();
    grant.replaced_bytes = wanted.replaces() || wanted.frees() ? taken_bytes : 0;
    parts_.ledger.expect_kept(
        *node, std::min(wanted.block_bytes(), node->charge.allocated_bytes + 2 * kDataBlockBytes));
  }
  grant.reserved = Quota::Reservation();
  if (taken_bytes > 0) {
    grant.reserved = parts_.objects.reserve(parts_.ledger.tariff().for_data(taken_bytes), 0);
    if (!grant.reserved && wanted.frees()) return std::unexpected(std::move(grant.reserved).error());
  }
  if (wanted.makes_hole() && grant.reserved) ++node->file.blocks.freeing;
  if (!grant.alone.holds()) ++node->file.changing;
  return {};
}

Task<Result<void>> Overlay::grant_allocation(Reactor& reactor, NodePtr node, const Allocation& wanted,
                                             AllocationGrant& grant) {
  if (wanted.is_alone()) grant.alone = co_await parts_.file_turns.take(reactor, node);
  for (;;) {
    auto prepared = prepare_allocation(node, wanted, grant);
    if (!prepared || !grant.waits) co_return prepared;
    co_await parts_.file_turns.until(reactor, *node, FileTurns::Until::kMayChange);
  }
}

void Overlay::end_allocation(Node& node, AllocationGrant& grant) {
  if (grant.alone.holds()) return grant.alone.end();
  --node.file.changing;
  parts_.file_turns.end_change(node);
}

Task<Result<void>> Overlay::fallocate(Reactor& reactor, NodeId id, std::uint32_t mode, std::uint64_t offset,
                                      std::uint64_t length_bytes) {
  if (range_wraps(offset, length_bytes)) co_return fail(EFBIG);
  if (!is_served_fallocate(mode)) co_return fail(EOPNOTSUPP);
  auto copied = co_await parts_.copy_up.copy_up(reactor, id, CopyUp::kAllData);
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr node = copied->node();
  co_await parts_.settling.room(reactor);
  const Allocation wanted{.mode = mode,
                          .offset = offset,
                          .end = offset + length_bytes,
                          .keeps_what_is_cut = parts_.ledger.tariff().keeps_what_is_cut()};
  AllocationGrant grant;
  auto granted = co_await grant_allocation(reactor, node, wanted, grant);
  if (!granted) co_return granted;
  const int fd = grant.fd->get();
  const bool relies_on_blocks = !grant.reserved && !wanted.inserts() && !wanted.replaces() &&
                                parts_.objects.rely_on_blocks(*node, fd, offset, wanted.end);
  if (!grant.reserved && !relies_on_blocks) {
    const std::lock_guard lock(parts_.mutex);
    end_allocation(*node, grant);
    co_return std::unexpected(std::move(grant.reserved).error());
  }
  auto allocated = co_await reactor.fallocate(fd, static_cast<int>(mode), offset, length_bytes);
  {
    const std::lock_guard lock(parts_.mutex);
    if (relies_on_blocks) parts_.objects.end_relying(*node, fd);
    if (allocated) Ledger::charge_kept_whole(*node);
    end_allocation(*node, grant);
    if (allocated && (mode & FALLOC_FL_KEEP_SIZE) != 0 && !wanted.frees()) node->file.keeps_ahead = true;
    // What an insertion has moved away from under others may be allocated again, as what was freed.
    if (wanted.makes_hole())
      parts_.objects.end_freeing(*node, fd, wanted.inserts() ? wanted.most_bytes() : 0);
    book_allocation(*node, fd, wanted.most_bytes(), allocated ? grant.replaced_bytes : 0);
    grant.reserved = Quota::Reservation();
  }
  parts_.settling.keep_up();
  if (!allocated) co_return std::unexpected(allocated.error());
  co_return Result<void>();
}

void Overlay::book_allocation(Node& node, int fd, std::uint64_t most_bytes, std::uint64_t replaced_bytes) {
  node.file.forget_density();
  node.known.valid = false;
  if (node.is_gone()) return parts_.ledger.miss(fd, most_bytes);
  node.charge.kept_from = kNeverCut;  // there may be a hole before it now
  if (replaced_bytes > 0) {
    parts_.objects.book_replaced(node, fd, replaced_bytes);
  } else {
    parts_.objects.book_data(node, fd);
  }
  parts_.ledger.data_changed(node, DataChange::kAny);
}

Result<std::uint64_t> Overlay::lseek(NodeId id, std::uint64_t offset, std::uint32_t whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(EINVAL);
  FdCache::Fd fd;
  {
    const PartLock lock(parts_.mutex);
    LB_ASSIGN(const Ref ref, parts_.nodes.find(id));
    if (ref.has_lower_data()) return parts_.lower.seek(ref.lower, offset, static_cast<int>(whence));
    LB_ASSIGN(fd, parts_.places.file_fd(ref.node));
  }
  if (offset > INT64_MAX) return fail(ENXIO);
  const off_t at = ::lseek(fd->get(), static_cast<off_t>(offset), static_cast<int>(whence));
  if (at < 0) return fail(errno);
  return static_cast<std::uint64_t>(at);
}

Task<Result<void>> Overlay::syncfs(Reactor& reactor) {
  std::uint64_t marks = 0;
  {
    const std::lock_guard lock(parts_.mutex);
    marks = parts_.objects.marks_made();
  }
  int code = 0;
  co_await parts_.workers.run(reactor, [&] {
    auto files = parts_.settling.take_all();
    code = ::syncfs(parts_.places.upper().root_fd()) == 0 ? 0 : errno;
    if (code == 0) parts_.settling.settle(std::move(files));
  });
  if (code != 0) co_return fail(code);
  const std::lock_guard lock(parts_.mutex);
  parts_.objects.marks_synced(marks);
  co_return Result<void>();
}

Task<Result<std::size_t>> Overlay::copy_file_range(Reactor& reactor, NodeId from, std::uint64_t from_offset,
                                                   NodeId to, std::uint64_t to_offset,
                                                   std::uint64_t length_bytes) {
  const std::uint64_t wanted = std::min(length_bytes, kMaxCopyBytes);
  const std::uint64_t apart = from_offset > to_offset ? from_offset - to_offset : to_offset - from_offset;
  if (from == to && apart < length_bytes) co_return fail(EINVAL);
  const std::size_t piece_bytes = std::min<std::uint64_t>(wanted, kPieceBytes);
  const auto charge = co_await parts_.memory.ranges().acquire(reactor, piece_bytes);
  const Buffer buffer(piece_bytes);
  std::size_t done = 0;
  while (done < wanted) {
    const iovec into{buffer.data(), std::min<std::size_t>(wanted - done, piece_bytes)};
    auto got = co_await read(reactor, from, from_offset + done, {&into, 1});
    if (!got && done == 0) co_return std::unexpected(std::move(got).error());
    if (!got || *got == 0) break;
    const iovec piece{buffer.data(), *got};
    // Whoever may not keep set-id bits has had them taken away before.
    auto put = co_await write(reactor, to, to_offset + done, {&piece, 1}, Writer::kPrivileged);
    if (!put && done == 0) co_return std::unexpected(std::move(put).error());
    if (!put) break;
    done += *put;
    if (*put < *got) break;
  }
  co_return done;
}

}  // namespace layerboot::overlay
