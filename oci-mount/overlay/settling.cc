#include "oci-mount/overlay/settling.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "oci-mount/overlay/allocated_range.h"

namespace layerboot::overlay {

using Fill = LateFiles::Fill;

Settling::Files::~Files() {
  if (pins_.empty()) return;
  const PartLock lock(settling_.mutex_);
  for (const Pin& file : pins_) settling_.ledger_.list_again(*file.node());
}

Settling::Files Settling::take(std::size_t most_files, std::uint64_t most_bytes) {
  Files files(*this);
  const PartLock lock(mutex_);
  for (std::uint64_t bytes = 0; files.pins_.size() < most_files && bytes < most_bytes;) {
    const NodePtr file = ledger_.take_late();
    if (!file) break;
    bytes += file->charge.allocated_bytes;
    files.pins_.emplace_back(objects_, file);
  }
  return files;
}

Settling::Files Settling::take_all() { return take(SIZE_MAX, UINT64_MAX); }

/// Nothing where one can't be opened.
std::vector<Settling::WrittenOut> Settling::open_all(const Files& files) {
  std::vector<WrittenOut> opened;
  const PartLock lock(mutex_);
  for (const Pin& file : files.pins()) {
    WrittenOut& next = opened.emplace_back();
    // One that has lost its last name meanwhile and is not held is no more.
    if (file.node()->is_gone()) continue;
    auto fd = places_.file_fd(file.node());
    if (!fd) {
      for (const Pin& other : files.pins()) other.node()->file.is_written_out = false;
      return {};
    }
    file.node()->file.is_written_out = true;
    next = {.fd = *std::move(fd),
            .holes_made = file.node()->file.holes_made,
            .written_until = std::nullopt,
            .error = 0};
  }
  return opened;
}

/// Allocated at the latest when the host has written it: some split extents only then. Where there are no
/// descriptors for that, all of the file system is.
bool Settling::bring_to_disk(const Files& files, std::vector<WrittenOut>& opened) {
  constexpr unsigned kBegin = SYNC_FILE_RANGE_WRITE;
  constexpr unsigned kWhole =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (opened.empty()) {
    return ::syncfs(own_root_ ? own_root_.get() : places_.upper().root_fd()) == 0;
  }
  for (const auto& file : opened) {
    if (file.fd) static_cast<void>(::sync_file_range(file.fd->get(), 0, 0, kBegin));
  }
  for (std::size_t i = 0; i < opened.size(); ++i) {
    WrittenOut& file = opened[i];
    if (!file.fd) continue;
    const int fd = file.fd->get();
    if (::sync_file_range(fd, 0, 0, kWhole) != 0) file.error = errno;
    end_writing(*files.pins()[i].node(), file.error);
    if (file.error == 0) file.written_until = first_unwritten(fd);
  }
  return true;
}

/// What the host has told us, it tells no more by this descriptor, which is the one that the client's fsync
/// goes by. At once, not when all others are written as well: who syncs the file waits for it.
void Settling::end_writing(Node& file, int error) {
  {
    const PartLock lock(mutex_);
    file.file.is_written_out = false;
    if (error != 0) file.file.write_error = error;
  }
  std::unique_lock lock(state_mutex_);
  const auto waiters = std::exchange(writing_waiters_, {});
  lock.unlock();
  wake(waiters);
}

/// False where nobody is at work on it, or not any more. Woken for any file, who waits looks again.
bool Settling::wait_for_writing(Waiter waiter, const Node& file) {
  const std::lock_guard state_lock(state_mutex_);
  const PartLock lock(mutex_);
  if (!file.file.is_written_out) return false;
  writing_waiters_.push_back(waiter);
  return true;
}

bool Settling::write_some_out() {
  const Files files = take(kFilesAtOnce, kBytesAtOnce);
  if (files.pins().empty()) return false;
  auto written_out = open_all(files);
  return bring_to_disk(files, written_out) && settle(files, written_out) > 0;
}

/// False where it may still grow: the host could not be asked.
bool Settling::settle_one(Node& file, const WrittenOut* written_out) {
  if (written_out != nullptr && written_out->error != 0) return false;
  if (file.is_gone() || file.charge.is_listed) return true;
  if (written_out != nullptr && !written_out->fd) return false;
  file.known.valid = false;
  const auto attr = objects_.attr_of(file);
  if (!attr) return false;
  ledger_.settled(file);
  if (written_out == nullptr || !written_out->written_until) return true;
  if (written_out->holes_made == file.file.holes_made) {
    file.file.is_written = *written_out->written_until >= attr->size_bytes;
  }
  return true;
}

/// How many. `written_out`: of each, or of none.
std::size_t Settling::settle(const Files& files, const std::vector<WrittenOut>& written_out) {
  std::size_t settled = 0;
  const auto& pins = files.pins();
  for (std::size_t at = 0; at < pins.size(); at += kFilesAtOnce) {
    const std::size_t end = std::min(pins.size(), at + kFilesAtOnce);
    {
      const PartLock lock(mutex_);
      for (std::size_t i = at; i < end; ++i) {
        if (settle_one(*pins[i].node(), written_out.empty() ? nullptr : &written_out[i])) ++settled;
      }
    }
    mutex_.give_way();
  }
  return settled;
}

void Settling::settle(Files files) { static_cast<void>(settle(files, {})); }

void Settling::keep_up() {
  if (ledger_.late_fill() == Fill::kLittle) return;
  {
    const std::lock_guard lock(state_mutex_);
    if (std::exchange(is_at_work_, true)) return;
  }
  submit_work();
}

void Settling::submit_work() {
  try {
    workers_.submit([this] { work(); });
  } catch (const std::bad_alloc&) {
    end_work();
  }
}

/// Others have the worker in between.
void Settling::work() {
  if (!write_some_out() || ledger_.late_fill() == Fill::kLittle) return end_work();
  if (has_room()) {
    std::unique_lock lock(state_mutex_);
    const auto waiters = std::exchange(waiters_, {});
    lock.unlock();
    // Others may be first: who finds no room then waits on.
    for (const auto& waiter : waiters) {
      waiter.reactor.post([this, waiter] {
        if (has_room() || !wait(waiter)) waiter.handle.resume();
      });
    }
  }
  submit_work();
}

void Settling::wake(const std::vector<Waiter>& waiters) {
  for (const auto& waiter : waiters) {
    waiter.reactor.post([handle = waiter.handle] { handle.resume(); });
  }
}

void Settling::end_work() {
  std::vector<Waiter> waiters;
  {
    const std::lock_guard lock(state_mutex_);
    waiters = std::exchange(waiters_, {});
    is_at_work_ = false;
    ended_.notify_all();
  }
  wake(waiters);  // this may be gone by now
}

bool Settling::wait(Waiter waiter) {
  keep_up();
  const std::lock_guard lock(state_mutex_);
  if (!is_at_work_) return false;  // nobody would wake it
  waiters_.push_back(waiter);
  return true;
}

void Settling::finish() {
  std::unique_lock lock(state_mutex_);
  ended_.wait(lock, [this] { return !is_at_work_; });
}

}  // namespace layerboot::overlay
