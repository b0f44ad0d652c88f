#include "oci-mount/overlay/settling.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

namespace layerboot::overlay {

namespace {

using Fill = LateFiles::Fill;

/// Allocated at the latest when the host has written it: some split extents only then.
void write_out(std::span<const SharedFd> fds) {
  constexpr unsigned kBegin = SYNC_FILE_RANGE_WRITE;
  constexpr unsigned kWhole =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  for (const auto& fd : fds) static_cast<void>(::sync_file_range(fd->get(), 0, 0, kBegin));
  for (const auto& fd : fds) {
    if (::sync_file_range(fd->get(), 0, 0, kWhole) != 0) static_cast<void>(::fsync(fd->get()));
  }
}

}  // namespace

std::vector<Pin> Settling::take(std::size_t most) {
  std::vector<Pin> files;
  const PartLock lock(mutex_);
  while (files.size() < most) {
    const NodePtr file = ledger_.take_late();
    if (!file) break;
    files.emplace_back(objects_, file);
  }
  return files;
}

std::vector<Pin> Settling::take_all() { return take(SIZE_MAX); }

bool Settling::write_some_out() {
  std::vector<Pin> files = take(kFilesAtOnce);
  if (files.empty()) return false;
  std::vector<SharedFd> fds;
  {
    const PartLock lock(mutex_);
    for (const Pin& file : files) {
      // One that has lost its last name meanwhile and is not held is no more.
      if (auto fd = places_.file_fd(file.node()); fd) fds.push_back(*std::move(fd));
    }
  }
  write_out(fds);
  settle(std::move(files));
  return true;
}

void Settling::settle_one(Node& file) {
  if (file.is_gone() || file.charge.is_listed) return;
  file.known.valid = false;
  if (objects_.attr_of(file)) ledger_.settled(file);
}

void Settling::settle(std::vector<Pin> files) {
  for (std::size_t at = 0; at < files.size(); at += kFilesAtOnce) {
    const std::size_t end = std::min(files.size(), at + kFilesAtOnce);
    {
      const PartLock lock(mutex_);
      for (std::size_t i = at; i < end; ++i) settle_one(*files[i].node());
    }
    mutex_.give_way();
  }
}

void Settling::keep_up() {
  const Fill fill = ledger_.late_fill();
  if (fill == Fill::kLittle) return;
  if (fill == Fill::kTooMuch) write_some_out();
  {
    const std::lock_guard lock(state_mutex_);
    if (std::exchange(is_at_work_, true)) return;
  }
  workers_.submit([this] { work(); });
}

/// Others have the worker in between.
void Settling::work() {
  if (write_some_out() && ledger_.late_fill() != Fill::kLittle) {
    return workers_.submit([this] { work(); });
  }
  const std::lock_guard lock(state_mutex_);
  is_at_work_ = false;
  ended_.notify_all();
}

void Settling::finish() {
  std::unique_lock lock(state_mutex_);
  ended_.wait(lock, [this] { return !is_at_work_; });
}

}  // namespace layerboot::overlay
