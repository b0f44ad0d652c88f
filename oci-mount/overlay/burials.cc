#include "oci-mount/overlay/burials.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

namespace layerboot::overlay {

namespace {

/// The charge is given back after the file is closed.
struct Burial {
  Quota::Reservation charge;
  SharedFd last;
};

}  // namespace

struct Burials::Waiting {
  std::mutex mutex;
  std::condition_variable freed;
  std::deque<Burial> files;
  std::size_t under_way = 0;
  std::size_t ever_freed = 0;

  /// False where none waits.
  bool free_one() {
    std::unique_lock lock(mutex);
    if (files.empty()) return false;
    {
      const Burial first = std::move(files.front());
      files.pop_front();
      ++under_way;
      lock.unlock();
    }
    lock.lock();
    --under_way;
    ++ever_freed;
    freed.notify_all();
    return true;
  }
  /// False where none is under way.
  bool wait_for_one() {
    std::unique_lock lock(mutex);
    if (under_way == 0) return false;
    const std::size_t before = ever_freed;
    freed.wait(lock, [this, before] { return ever_freed != before; });
    return true;
  }
};

Burials::Burials(WorkerPool& workers) : waiting_(std::make_shared<Waiting>()), workers_(workers) {}

Burials::~Burials() {
  while (finish_one()) {
  }
}

Burials::Own Burials::add(SharedFd last, Quota::Reservation charge) {
  bool is_full = false;
  {
    const std::lock_guard lock(waiting_->mutex);
    waiting_->files.push_back({std::move(charge), std::move(last)});
    is_full = waiting_->files.size() > kMost;
  }
  // Left in the queue, so that who needs the room before then takes it from there.
  if (is_full) return {waiting_.get(), [waiting = waiting_](const void*) { waiting->free_one(); }};
  workers_.submit([waiting = waiting_] { waiting->free_one(); });
  return nullptr;
}

bool Burials::finish_one() { return waiting_->free_one() || waiting_->wait_for_one(); }

}  // namespace layerboot::overlay
