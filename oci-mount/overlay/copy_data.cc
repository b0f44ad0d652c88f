// Copy-up of files' data: what waits, and what it does under the lock before and after.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "oci-mount/base/buffer.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/copy_up.h"
#include "oci-mount/overlay/file_rules.h"

namespace layerboot::overlay {

namespace {

constexpr std::size_t kCopyPieceBytes = 1 << 20;

}  // namespace

/// Waits until the copy of a file that another request makes has ended.
class CopyUp::Wait {
 public:
  Wait(CopyUp& copy_up, Reactor& reactor, tree::NodeId row)
      : copy_up_(copy_up), reactor_(reactor), row_(row) {}
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    const std::lock_guard lock(copy_up_.mutex_);
    const auto copy = copy_up_.under_way_.find(row_);
    if (copy == copy_up_.under_way_.end()) return false;
    copy->second.push_back({reactor_, handle});
    return true;
  }
  void await_resume() const noexcept {}

 private:
  CopyUp& copy_up_;
  Reactor& reactor_;
  tree::NodeId row_;
};

/// Ends a copy, well or badly, and wakes who waits for it.
class CopyUp::End {
 public:
  End(CopyUp& copy_up, tree::NodeId row) : copy_up_(copy_up), row_(row) {}
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  ~End() {
    std::vector<Waiter> waiters;
    {
      const std::lock_guard lock(copy_up_.mutex_);
      const auto copy = copy_up_.under_way_.find(row_);
      waiters = std::move(copy->second);
      copy_up_.under_way_.erase(copy);
    }
    for (const auto& waiter : waiters) {
      waiter.reactor.post([handle = waiter.handle] { handle.resume(); });
    }
  }

 private:
  CopyUp& copy_up_;
  tree::NodeId row_;
};

Task<Result<Pin>> CopyUp::copy_up(Reactor& reactor, NodeId id, std::optional<std::uint64_t> data_bytes) {
  std::vector<Pin> read;  // outlives the lock
  for (bool has_read = false;;) {
    tree::NodeId row = tree::kNoNode;
    bool wait = false;
    std::optional<Pin> metacopy;  // outlives the lock
    {
      std::unique_lock lock(mutex_);
      LB_CO_ASSIGN(const Ref ref, nodes_.find(id));
      if (ref.node && ref.node->is_gone()) co_return fail(ENOENT);
      const bool has_body = ref.node && ref.node->has_body();
      if (has_body && data_bytes && ref.node->file.data_lost) {
        if (*data_bytes > 0) co_return fail(EIO);
        LB_CO_TRY(give_up_data(*ref.node));
      }
      if (has_body && !(data_bytes && ref.node->file.data_below)) co_return Pin(objects_, ref.node);
      LB_CO_TRY(objects_.make_room());
      row = ref.lower;
      const auto& record = lower_.tree.node(row);
      if (!has_body && !std::exchange(has_read, true)) {
        lock.unlock();
        LB_CO_ASSIGN(read, read_directories_of(row));
        continue;
      }
      if (S_ISDIR(record.mode)) {
        co_return objects_.pin(ref.node ? copy_removed(ref.node) : directory(ref));
      }
      if (!S_ISREG(record.mode) && !has_target_data(row))
        co_return objects_.pin(copy_at_once(row, Data::kNone));
      if (!has_body && !data_bytes && needs_data(row)) data_bytes = kAllData;
      const bool takes_data = data_bytes && std::min(*data_bytes, data_size(row)) > 0;
      if (!has_body && !takes_data && !under_way_.contains(row)) {
        co_return objects_.pin(copy_at_once(row, data_bytes ? Data::kNone : Data::kBelow));
      }
      wait = !under_way_.try_emplace(row).second;
      if (!wait && has_body) metacopy.emplace(objects_, ref.node);
    }
    if (metacopy) {
      auto filled = co_await fill(reactor, *std::move(metacopy), *data_bytes);
      co_return std::move(filled);
    }
    if (!wait) {
      auto copied = co_await copy_file(reactor, row, *data_bytes);
      co_return std::move(copied);
    }
    co_await Wait(*this, reactor, row);
  }
}

/// What the upper has of a directory of the image, and of those on the way to it: their names are in memory
/// for as long as they are pinned.
Result<void> CopyUp::read_upper_part(PartLock& lock, tree::NodeId row, std::vector<Pin>& read) {
  std::vector<tree::NodeId> way;  // down from one that is known, the last first
  for (; !nodes_.known(row); row = lower_.tree.parent(row)) way.push_back(row);
  NodePtr at = nodes_.known(row);
  for (; at && at->has_body(); way.pop_back()) {
    read.emplace_back(objects_, at);
    LB_TRY(directories_.read_beside_others(lock, at));
    while (!lock.may_use(*at, PartLock::For::kLooking)) {
    }
    if (way.empty() || at->is_removed()) return {};
    const std::string name(lower_.tree.name_in_parent(way.back()));
    LB_ASSIGN(const Found found, directories_.look(at, name));
    if (!found.in_upper()) return {};
    LB_ASSIGN(at, objects_.load(at, name, *found.child));
  }
  return {};
}

/// Without the lock: directories that have one of the row's names may be large, and have yet to be read.
Result<std::vector<Pin>> CopyUp::read_directories_of(tree::NodeId row) {
  std::vector<Pin> read;
  PartLock lock(mutex_);
  LB_TRY(read_upper_part(lock, lower_.tree.parent(row), read));
  for (const auto& link : lower_.tree.links(row)) LB_TRY(read_upper_part(lock, link.parent, read));
  return read;
}

/// Of an image's symlink: it is copied as a file is.
bool CopyUp::has_target_data(tree::NodeId row) const {
  return S_ISLNK(lower_.tree.node(row).mode) &&
         is_target_data(places_.keeping(), lower_.tree.symlink_target(row));
}

/// Whether it can't be a metacopy. One with several names would lead to another file by each of them, where a
/// layer comes to cover some.
bool CopyUp::needs_data(tree::NodeId row) const {
  const bool may_part = lower_.may_change() && lower_.tree.node(row).nlink > 1;
  return may_part || lower_.may_change(row) || has_target_data(row);
}

std::uint64_t CopyUp::data_size(tree::NodeId row) const {
  return has_target_data(row) ? lower_.tree.symlink_target(row).size() : lower_.tree.node(row).size_bytes;
}

/// REQUIRES: `row` is entered in under_way_ by this request.
Task<Result<Pin>> CopyUp::copy_file(Reactor& reactor, tree::NodeId row, std::uint64_t data_bytes) {
  const End end(*this, row);
  const auto& record = lower_.tree.node(row);
  const std::uint64_t length = std::min(data_size(row), data_bytes);
  LB_CO_ASSIGN(
      const auto reserved,
      objects_.reserve_without_lock(
          ledger_.tariff().for_data(worst_copy_bytes(record, length)) + names_and_attributes(row), 1));
  WorkFile work;
  {
    const std::lock_guard lock(mutex_);
    work.place = places_.work_place();
  }
  LB_CO_ASSIGN(work.fd, create_regular_at(work.place.get(), 0600));
  const UniqueFd& file = work.fd;
  if (::ftruncate(file.get(), static_cast<off_t>(length)) != 0) co_return fail(errno);
  auto copied = co_await copy_data(reactor, row, file.get(), length);
  if (!copied) co_return std::unexpected(copied.error());
  // As overlayfs: a copy that is named is whole, also after the host has lost power.
  auto synced = co_await reactor.fsync(file.get(), false);
  if (!synced) co_return std::unexpected(synced.error());
  const std::lock_guard lock(mutex_);
  auto node = name_copy(row, work.place.get());
  work.is_named = node.has_value();
  co_return objects_.pin(std::move(node));
}

Result<NodePtr> CopyUp::name_copy(tree::NodeId row, Place copy) {
  LB_TRY(copy_metadata(copy, row));
  LB_ASSIGN(const struct stat st, stat_at(copy));
  return place_copy(row, copy, st, Data::kNone);
}

std::uint64_t CopyUp::worst_copy_bytes(const tree::NodeRecord& record, std::uint64_t data_bytes) {
  return std::min(block_end(data_bytes), record.blocks * kStatBlockBytes + kDataBlockBytes);
}

/// The first `data_bytes` of a lower file, with their holes, into one that has none of them.
Task<Result<void>> CopyUp::copy_data(Reactor& reactor, tree::NodeId row, int to_fd,
                                     std::uint64_t data_bytes) {
  if (has_target_data(row)) co_return write_all(to_fd, as_bytes(lower_.tree.symlink_target(row)), 0);
  const std::size_t piece_bytes = std::min<std::uint64_t>(data_bytes, kCopyPieceBytes);
  const auto charge = co_await objects_.memory().copies().acquire(reactor, piece_bytes);
  const Buffer buffer(piece_bytes);
  for (const auto& extent : lower_.tree.extents(row)) {
    const std::uint64_t end = std::min(extent.file_offset + extent.length_bytes, data_bytes);
    for (std::uint64_t at = extent.file_offset; at < end;) {
      const iovec piece{buffer.data(), std::min<std::uint64_t>(end - at, piece_bytes)};
      auto got = co_await lower_.read(reactor, row, at, {&piece, 1});
      if (!got) co_return std::unexpected(got.error());
      if (*got != piece.iov_len) co_return fail(EIO);
      for (std::size_t done = 0; done < piece.iov_len;) {
        const iovec rest{buffer.data() + done, piece.iov_len - done};
        auto put = co_await reactor.writev(to_fd, {&rest, 1}, at + done);
        if (!put) co_return std::unexpected(put.error());
        done += *put;
      }
      at += piece.iov_len;
    }
  }
  co_return Result<void>();
}

/// Gives a metacopy the image's data, or as much of it as is to be kept.
/// REQUIRES: `lower` of the Node is entered in under_way_ by this request.
Task<Result<Pin>> CopyUp::fill(Reactor& reactor, Pin pin, std::uint64_t data_bytes) {
  const NodePtr node = pin.node();
  const End end(*this, node->lower);
  const auto& record = lower_.tree.node(node->lower);
  data_bytes = std::min(record.size_bytes, data_bytes);
  LB_CO_ASSIGN(const auto reserved, objects_.reserve_without_lock(
                                        ledger_.tariff().for_data(worst_copy_bytes(record, data_bytes)), 0));
  FdCache::Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(fd, begin_filling(node));
  }
  auto filled = co_await copy_data(reactor, node->lower, fd->get(), data_bytes);
  if (filled) {
    auto synced = co_await reactor.fsync(fd->get(), false);
    if (!synced) filled = std::unexpected(std::move(synced).error());
  }
  if (!filled) {
    // Best effort: what stays is charged, and written over at the next try.
    auto punched = co_await reactor.fallocate(fd->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                              record.size_bytes);
    if (!punched) log_warn("cannot free a half-made copy: ", punched.error().describe());
  }
  const std::lock_guard lock(mutex_);
  LB_CO_TRY(end_filling(*node, fd->get(), std::move(filled), data_bytes));
  co_return std::move(pin);
}

Result<FdCache::Fd> CopyUp::begin_filling(const NodePtr& node) {
  if (node->is_gone()) return fail(ENOENT);
  LB_ASSIGN(auto fd, places_.file_fd(node));
  LB_ASSIGN(const struct stat st, stat_at({fd->get(), ""}));
  Filling filling{.mtime = st.st_mtim, .capability = std::nullopt};
  if (places_.keeping() == Keeping::kNative) {
    LB_ASSIGN(filling.capability, get_xattr_at({fd->get(), ""}, kCapabilityXattr));
  }
  node->file.filling = std::move(filling);
  return fd;
}

/// From now on the file's data is its own. What changes it again has to make the mark's going durable.
Result<void> CopyUp::keep_data(Node& node, int fd, std::uint64_t data_bytes) {
  const std::uint64_t size_bytes = lower_.tree.node(node.lower).size_bytes;
  if (data_bytes < size_bytes && ::ftruncate(fd, static_cast<off_t>(data_bytes)) != 0) return fail(errno);
  if (auto removed = remove_xattr_at({fd, ""}, places_.marks().metacopy); !removed) {
    // As large as the image's again, it is what it was. A crash in between leaves it cut, and whole.
    if (::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) {
      log_warn("cannot take back what was cut off a file: ", errno_error("ftruncate").error().describe());
    }
    return removed;
  }
  node.file.data_below = false;
  node.way.change();
  node.file.forget_density();
  return {};
}

/// Filled or not, to the guest nothing has changed yet.
Result<void> CopyUp::end_filling(Node& node, int fd, Result<void> filled, std::uint64_t data_bytes) {
  const auto before = *std::exchange(node.file.filling, std::nullopt);
  node.known.valid = false;
  if (node.is_gone()) {
    ledger_.miss(fd, block_end(data_bytes));
    return fail(ENOENT);
  }
  if (filled) filled = keep_data(node, fd, data_bytes);
  const Place self{fd, ""};
  if (const auto st = stat_at(self); st) objects_.book(node, *st);
  // Filled, it has just been synced, and who could write to it waits for this.
  filled ? ledger_.settled(node) : ledger_.data_changed(node, DataChange::kAny);
  node.known.valid = false;
  // All of it, whatever fails: the data is the file's by now.
  const auto also = [&filled](Result<void> done) {
    if (filled && !done) filled = std::move(done);
  };
  if (before.capability) also(set_xattr_at(self, kCapabilityXattr, *before.capability, 0));
  also(set_times_at(self, {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, before.mtime}));
  also(objects_.recount_attributes(node, self));
  return filled;
}

}  // namespace layerboot::overlay
