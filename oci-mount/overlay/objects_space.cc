// What files take on the host beside what they show: blocks that requests use without the lock, and what the
// host has allocated ahead; and room for more.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/overlay/allocated_range.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/objects.h"

namespace layerboot::overlay {

// ---- blocks in use

namespace {

/// Not while it waits for those that change the file now.
bool is_alone(const FileState& file) {
  return file.is_taken && file.changing == 0 && file.blocks.relying == 0;
}

}  // namespace

bool Objects::rely_on_blocks(Node& node, int fd, std::uint64_t offset, std::uint64_t end) {
  constexpr int kMostTries = 4;  // others may make holes each time
  auto& file = node.file;
  for (int i = 0; i < kMostTries; ++i) {
    std::uint32_t holes_made = 0;
    {
      const PartLock lock(mutex_);
      if (file.blocks.freeing > 0 || is_alone(file)) return false;
      holes_made = file.holes_made;
    }
    if (!is_allocated(fd, offset, end)) return false;
    const PartLock lock(mutex_);
    if (file.blocks.freeing > 0 || is_alone(file)) return false;
    if (file.holes_made != holes_made) continue;
    ++file.blocks.relying;
    return true;
  }
  return false;
}

void Objects::end_relying(Node& node, int fd) {
  auto& blocks = node.file.blocks;
  --blocks.relying;
  if (blocks.held_bytes == 0) return;
  // What it may have allocated again is the file's from here on.
  if (!node.is_gone()) book_data(node, fd);
  if (blocks.relying > 0) return;
  blocks.held_bytes = 0;
  blocks.held = {};
}

void Objects::end_freeing(Node& node, int fd, std::uint64_t hole_bytes) {
  auto& blocks = node.file.blocks;
  --blocks.freeing;
  if (blocks.relying == 0 || node.is_gone()) return;
  const std::uint64_t before = node.charge.bytes;
  const auto st = stat_at({fd, ""});
  if (!st) return;
  book(node, *st);
  if (node.charge.bytes < before) hole_bytes += before - node.charge.bytes;
  if (hole_bytes == 0) return;
  blocks.held_bytes += hole_bytes;
  blocks.held = ledger_.quota().hold(blocks.held_bytes);
}

// ---- allocated ahead

/// Of a file that nobody changes: else the host waits for who does, and all wait for the lock.
void Objects::book_with_ahead(Node& node, int fd) {
  const auto st = stat_at({fd, ""});
  if (!st) return;
  std::optional<std::uint64_t> ahead_bytes;
  if (node.charge.is_sparse)
    ahead_bytes = allocated_from(fd, block_end(static_cast<std::uint64_t>(st->st_size)));
  book(node, *st, ahead_bytes);
}

/// What the client has preallocated is its own; and the host would take a file's capability away.
bool Objects::is_to_keep_ahead(const Node& node, int fd) {
  if (is_preallocated(fd)) return true;
  if (node.file.no_capability || places_.keeping() != Keeping::kNative) return false;
  const auto capability = get_xattr_at({fd, ""}, kCapabilityXattr);
  return !capability || *capability;
}

void Objects::give_back_ahead(Node& node, int fd) {
  auto& file = node.file;
  if (node.charge.gives_back_bytes == 0 || file.changing > 0 || file.blocks.freeing > 0 || node.is_gone())
    return;
  file.keeps_ahead = is_to_keep_ahead(node, fd);
  // As it is now: all that has grown it has ended.
  const auto st = stat_at({fd, ""});
  if (!st) return;
  if (!file.keeps_ahead) {
    constexpr off_t kFarAhead = off_t{1} << 40;
    const auto end = static_cast<off_t>(block_end(static_cast<std::uint64_t>(st->st_size)));
    static_cast<void>(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, kFarAhead));
    // To the host that was a change of the file (file_modified() in fs/inode.c).
    static_cast<void>(set_times_at({fd, ""}, {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, st->st_mtim}));
  }
  book_with_ahead(node, fd);
  ledger_.keep_ahead(node);
}

Result<Quota::Reservation> Objects::reserve(std::uint64_t bytes, std::uint64_t inodes, Budget budget) {
  auto reserved = ledger_.reserve(bytes, inodes, budget);
  if (reserved || ledger_.ahead_bytes() == 0) return reserved;
  const Quota::Usage available = ledger_.quota().available();
  if (inodes > available.inodes || bytes > available.bytes + ledger_.ahead_bytes()) return reserved;
  Ledger::Ahead files = ledger_.take_ahead();
  for (auto next = files.begin(); next != files.end() && !reserved;) {
    const auto file = next++;
    const NodePtr node = nodes_.known(*file);
    if (node) {
      if (const auto fd = places_.file_fd(node); fd) give_back_ahead(*node, (*fd)->get());
      if (node->charge.gives_back_bytes > 0) continue;
    }
    files.erase(file);
    reserved = ledger_.reserve(bytes, inodes, budget);
  }
  ledger_.list_ahead(std::move(files));
  return reserved;
}

Result<Quota::Reservation> Objects::reserve_without_lock(std::uint64_t bytes, std::uint64_t inodes) {
  auto reserved = ledger_.reserve(bytes, inodes);
  if (reserved || ledger_.ahead_bytes() == 0) return reserved;
  const PartLock lock(mutex_);
  return reserve(bytes, inodes);
}

}  // namespace layerboot::overlay
