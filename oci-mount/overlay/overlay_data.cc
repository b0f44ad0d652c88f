// File contents: reading and writing.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/base/io_slices.h"
#include "oci-mount/base/whole_io.h"
#include "oci-mount/overlay/allocated_range.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

namespace {

/// A write into the page cache takes microseconds. One that takes longer than this was made to wait by the
/// host, so the next kPatientWrites go through the ring, where others need not wait for them.
constexpr std::chrono::milliseconds kSlowWrite{2};
constexpr std::uint32_t kPatientWrites = 64;

/// Whether a write up to `end` stays within a file that may have no holes. Blocks alone do not tell: some may
/// be allocated past its end.
bool may_allocate_nothing(const Node& node, std::uint64_t end) {
  const Attr& attr = node.known.attr;
  return node.file.blocks.freeing == 0 && end <= attr.size_bytes &&
         attr.blocks * kStatBlockBytes >= block_end(attr.size_bytes);
}

/// What a write of [offset, end) may allocate at most: nothing, when it stays within a file without holes
/// that is not copied as it is written over.
std::uint64_t worst_growth(const Node& node, bool copies, std::uint64_t offset, std::uint64_t end) {
  if (!copies && may_allocate_nothing(node, end) && node.file.dense.value_or(false)) return 0;
  return block_end(end) - block_start(offset);
}

}  // namespace

Result<std::int64_t> Overlay::try_read(NodeId id, std::uint64_t offset, std::span<const iovec> into) {
  if (parts_.nodes.is_held_untouched(id)) {
    return parts_.lower.try_read(static_cast<tree::NodeId>(id), offset, into);
  }
  FdCache::Fd fd;
  std::optional<std::uint64_t> size_bytes;  // where it is known
  tree::NodeId row = tree::kNoNode;
  {
    const PartLock lock(parts_.mutex);
    LB_ASSIGN(const Ref ref, parts_.nodes.find(id));
    if (ref.has_lower_data()) {
      row = ref.lower;
    } else {
      LB_ASSIGN(fd, parts_.places.file_fd(ref.node));
      if (ref.node->known.valid) size_bytes = ref.node->known.attr.size_bytes;
    }
  }
  if (!fd) return parts_.lower.try_read(row, offset, into);
  if (range_wraps(offset, total_bytes(into))) return fail(EINVAL);
  // tmpfs does not know the flag, and is memory.
  const int flags = parts_.ledger.tariff().kind() == HostKind::kTmpfs ? 0 : RWF_NOWAIT;
  const ssize_t got =
      ::preadv2(fd->get(), into.data(), static_cast<int>(into.size()), static_cast<off_t>(offset), flags);
  if (got < 0) return Lower::kWouldWait;
  // Part of it may be in memory and the rest not: then the count is short but the file has not ended.
  const std::uint64_t end = offset + static_cast<std::uint64_t>(got);
  const bool is_whole =
      static_cast<std::size_t>(got) == total_bytes(into) || (size_bytes && end >= *size_bytes);
  return is_whole ? got : Lower::kWouldWait;
}

Task<Result<std::size_t>> Overlay::read(Reactor& reactor, NodeId id, std::uint64_t offset,
                                        std::span<const iovec> into) {
  FdCache::Fd fd;
  tree::NodeId lower = tree::kNoNode;
  {
    const PartLock lock(parts_.mutex);
    LB_CO_ASSIGN(const Ref ref, parts_.nodes.find(id));
    lower = ref.lower;
    if (!ref.has_lower_data()) {
      LB_CO_ASSIGN(fd, parts_.places.file_fd(ref.node));
    }
  }
  if (!fd) {
    auto got = co_await parts_.lower.read(reactor, lower, offset, into);
    co_return got;
  }
  if (range_wraps(offset, total_bytes(into))) co_return fail(EINVAL);
  auto got = co_await read_whole(reactor, fd->get(), into, offset);
  co_return got;
}

Result<Overlay::WriteGrant> Overlay::prepare_write(const NodePtr& node, std::uint64_t offset,
                                                   std::uint64_t length, Writer writer, Asked asked) {
  if (node->is_gone()) return fail(ENOENT);  // its number may be another's
  WriteGrant grant;
  LB_ASSIGN(grant.fd, parts_.places.file_fd(node));
  if (!node->known.valid) LB_TRY(parts_.objects.attr_of(*node));
  const Attr& attr = node->known.attr;
  grant.size_bytes = attr.size_bytes;
  grant.holes_made = node->file.holes_made;
  const std::uint64_t end = offset + length;
  grant.offset = offset;
  grant.copies = takes_overwrites(*node, grant.fd->get());
  const bool may_begin =
      asked.has_blocks || (grant.copies ? FileTurns::may_take(*node) : FileTurns::may_change(*node));
  if (!may_begin) {
    grant.question = WriteGrant::Question::kTurn;
    return grant;
  }
  if (!asked.holes && !grant.copies && !node->file.dense && may_allocate_nothing(*node, end)) {
    grant.question = WriteGrant::Question::kHoles;
    return grant;
  }
  grant.growth_bytes = worst_growth(*node, grant.copies, offset, end);
  grant.leaves_hole = offset > attr.size_bytes;
  grant.relies_on_blocks = asked.has_blocks || grant.growth_bytes == 0;
  if (!grant.relies_on_blocks) {
    auto reserved = parts_.objects.reserve(parts_.ledger.tariff().for_data(grant.growth_bytes), 0);
    if (!reserved) {
      grant.question = WriteGrant::Question::kBlocks;
      return grant;
    }
    grant.reserved = *std::move(reserved);
  }
  if (writer == Writer::kUnprivileged && without_set_id(attr.mode) != attr.mode) {
    LB_TRY(set_nature(*node, {grant.fd->get(), ""},
                      {.mode = without_set_id(attr.mode), .uid = attr.uid, .gid = attr.gid, .rdev = 0},
                      Owner::kStays));
  }
  if (writer == Writer::kPageCache) {
    LB_ASSIGN(grant.is_late, begin_late_write(*node, grant.fd->get()));
  } else {
    LB_TRY(drop_capability(*node, {grant.fd->get(), ""}));
  }
  if (grant.relies_on_blocks && !asked.has_blocks) ++node->file.blocks.relying;
  ++node->file.changing;
  if (grant.copies) {
    FileTurns::take_now(*node);
    parts_.ledger.expect_kept(*node, grant.growth_bytes);
  }
  return grant;
}

/// Where prepare_write() has a question. Without the lock: a host looks at all extents of a file, which may
/// be very many. While a request makes holes nobody relies on the answers, and then they are forgotten.
Result<Overlay::WriteGrant> Overlay::grant_after_asking(const NodePtr& node, WriteGrant grant,
                                                        std::uint64_t offset, std::uint64_t length,
                                                        Writer writer) {
  const FdCache::Fd fd = grant.fd;  // outlives the locks
  if (grant.question == WriteGrant::Question::kHoles) {
    const bool dense = ::lseek(fd->get(), 0, SEEK_HOLE) >= static_cast<off_t>(grant.size_bytes);
    const bool changes_late = parts_.ledger.tariff().changes_late(grant.size_bytes);
    const auto unwritten = dense && changes_late ? first_unwritten(fd->get()) : std::nullopt;
    const PartLock lock(parts_.mutex);
    if (node->file.holes_made == grant.holes_made) {
      node->file.dense = dense;
      node->file.is_written = unwritten && *unwritten >= grant.size_bytes;
    }
    LB_ASSIGN(grant, prepare_write(node, offset, length, writer, {.holes = true}));
  }
  if (grant.question != WriteGrant::Question::kBlocks) return grant;
  const std::uint64_t end = offset + length;
  // What the host has allocated ahead it may take back at any time.
  const bool is_lasting = end <= block_end(grant.size_bytes) || !parts_.ledger.tariff().allocates_ahead() ||
                          is_preallocated(fd->get());
  if (grant.copies || !is_lasting) return fail(ENOSPC);
  const bool has_blocks = parts_.objects.rely_on_blocks(*node, fd->get(), offset, end);
  const PartLock lock(parts_.mutex);
  if (!has_blocks && FileTurns::may_change(*node)) return fail(ENOSPC);
  if (!has_blocks) {
    grant.question = WriteGrant::Question::kTurn;
    return grant;
  }
  auto granted = prepare_write(node, offset, length, writer, {.holes = true, .has_blocks = true});
  if (!granted) {
    parts_.objects.end_relying(*node, grant.fd->get());
    parts_.file_turns.end_change(*node);
  }
  return granted;
}

Result<Overlay::WriteGrant> Overlay::try_to_grant(const NodePtr& node, std::uint64_t offset,
                                                  std::uint64_t length, Writer writer) {
  WriteGrant grant;
  {
    const PartLock lock(parts_.mutex);
    LB_ASSIGN(grant, prepare_write(node, offset, length, writer, {}));
  }
  if (grant.question == WriteGrant::Question::kNone) return grant;
  return grant_after_asking(node, std::move(grant), offset, length, writer);
}

/// The grant's descriptor may be the file's last: who called keeps it until the lock is free.
void Overlay::settle_write(Node& node, WriteGrant& grant, std::uint64_t put_bytes) {
  const int fd = grant.fd->get();
  --node.file.changing;
  if (grant.is_late) end_late_write(node, fd);
  if (grant.relies_on_blocks) parts_.objects.end_relying(node, fd);
  if (grant.copies) Ledger::charge_kept_whole(node);
  grant.copies ? parts_.file_turns.end(node) : parts_.file_turns.end_change(node);
  // Also where the file was cut meanwhile, below what was then written.
  if (grant.leaves_hole || grant.holes_made != node.file.holes_made) node.file.forget_density();
  if (node.is_gone()) {
    parts_.ledger.miss(fd, grant.growth_bytes);
  } else if (grant.growth_bytes == 0 && node.known.valid && node.known.attr.size_bytes == grant.size_bytes) {
    node.known.times_stale = true;  // written within the file: it is as large as before
    parts_.ledger.data_changed(node, DataChange::kInPlace);
  } else {
    node.known.valid = false;
    if (grant.growth_bytes > 0) book_growth(node, grant, put_bytes);
    parts_.ledger.data_changed(node, DataChange::kAny);
  }
  // Given back now, so that the next reservation sees what this one became.
  grant.reserved = {};
}

/// On a host that copies on write, which can't be told to write each file in place.
bool Overlay::takes_overwrites(Node& file, int fd) const {
  if (!parts_.ledger.tariff().copies_on_write()) return false;
  if (!file.file.in_place) file.file.in_place = is_written_in_place(fd);
  return !*file.file.in_place;
}

/// Over the budget, what the host has allocated ahead of the file's end is given back. Of a file that is
/// copied as it is written over, a block that is written again and again, as a log's last one, is charged for
/// twice: then it lies in an extent of its own, and replaces no more than itself.
void Overlay::book_growth(Node& node, const WriteGrant& grant, std::uint64_t put_bytes) {
  const int fd = grant.fd->get();
  if (grant.copies && put_bytes > 0) {
    const std::uint64_t first = block_start(grant.offset);
    const std::uint64_t end = block_end(grant.offset + put_bytes);
    const bool is_lone = end - first == kHostBlockBytes;
    const bool is_again = is_lone && first == node.file.copied_block;
    const bool is_charged = is_again && node.file.copied_twice;
    parts_.objects.book_replaced(node, fd, is_charged ? 0 : end - first);
    node.file.copied_twice = is_again;
    node.file.copied_block = is_lone ? first : UINT64_MAX;
  } else {
    parts_.objects.book_data(node, fd);
  }
  if (node.charge.gives_back_bytes > 0 && quota().is_over()) parts_.objects.give_back_ahead(node, fd);
}

Result<std::int64_t> Overlay::try_write(NodeId id, std::uint64_t offset, std::span<const iovec> from,
                                        Writer writer) {
  const std::size_t length = total_bytes(from);
  if (range_wraps(offset, length)) return fail(EFBIG);
  if (parts_.nodes.is_held_untouched(id) || !parts_.settling.has_room()) return Lower::kWouldWait;
  if (auto patient = patient_writes_.load(std::memory_order_relaxed); patient > 0) {
    patient_writes_.compare_exchange_strong(patient, patient - 1, std::memory_order_relaxed);
    return Lower::kWouldWait;
  }
  std::optional<Pin> pin;  // outlives the lock
  WriteGrant grant;        // so does its descriptor
  {
    const PartLock lock(parts_.mutex);
    LB_ASSIGN(const Ref ref, parts_.nodes.find(id));
    if (ref.has_lower_data() || ref.node->is_gone()) return Lower::kWouldWait;
    pin.emplace(parts_.objects, ref.node);
    LB_ASSIGN(grant, prepare_write(ref.node, offset, length, writer, {}));
  }
  if (grant.question != WriteGrant::Question::kNone) {
    LB_ASSIGN(grant, grant_after_asking(pin->node(), std::move(grant), offset, length, writer));
  }
  if (grant.question == WriteGrant::Question::kTurn) return Lower::kWouldWait;
  const auto start = std::chrono::steady_clock::now();
  const ssize_t put =
      ::pwritev(grant.fd->get(), from.data(), static_cast<int>(from.size()), static_cast<off_t>(offset));
  const int code = errno;
  if (std::chrono::steady_clock::now() - start > kSlowWrite) {
    patient_writes_.store(kPatientWrites, std::memory_order_relaxed);
  }
  {
    const PartLock lock(parts_.mutex);
    settle_write(*pin->node(), grant, put < 0 ? 0 : static_cast<std::uint64_t>(put));
  }
  parts_.settling.keep_up();
  if (put < 0) return fail(code);
  // The rest of a short write says why it was short.
  return static_cast<std::size_t>(put) == length ? put : Lower::kWouldWait;
}

Task<Result<std::size_t>> Overlay::write(Reactor& reactor, NodeId id, std::uint64_t offset,
                                         std::span<const iovec> from, Writer writer) {
  const std::size_t length = total_bytes(from);
  if (range_wraps(offset, length)) co_return fail(EFBIG);
  auto copied = co_await parts_.copy_up.copy_up(reactor, id, CopyUp::kAllData);
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr node = copied->node();
  co_await parts_.settling.room(reactor);
  WriteGrant grant;
  for (;;) {
    LB_CO_ASSIGN(grant, try_to_grant(node, offset, length, writer));
    if (grant.question == WriteGrant::Question::kNone) break;
    co_await parts_.file_turns.until(
        reactor, *node, grant.copies ? FileTurns::Until::kMayTake : FileTurns::Until::kMayChange);
  }
  auto put = co_await write_whole(reactor, grant.fd->get(), from, offset);
  {
    const PartLock lock(parts_.mutex);
    settle_write(*node, grant, put.value_or(0));
  }
  parts_.settling.keep_up();
  co_return put;
}

}  // namespace layerboot::overlay
