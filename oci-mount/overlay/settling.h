// Settling: has the host allocate what it has put off, before that is more than may go unbooked.
//
// A host allocates blocks at write-back, and those for a scattered file's tree of extents are in no stat(2)
// before. Files that were written to are listed (late_files.h). When they may take half of what is allowed,
// a worker has the host write the oldest of them out and books what they take by then; when they may take
// most of it, who writes does so himself.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "oci-mount/base/worker_pool.h"
#include "oci-mount/overlay/ledger.h"
#include "oci-mount/overlay/objects.h"
#include "oci-mount/overlay/overlay_lock.h"
#include "oci-mount/overlay/places.h"

namespace layerboot::overlay {

/// Thread-safe; called without the Overlay's lock, which it takes by itself.
class Settling {
 public:
  /// Files that are written out, or looked at under the lock, in one go.
  static constexpr std::size_t kFilesAtOnce = 32;

  /// All outlive it. `mutex` is the Overlay's lock.
  Settling(Places& places, Ledger& ledger, Objects& objects, OverlayLock& mutex, WorkerPool& workers)
      : places_(places), ledger_(ledger), objects_(objects), mutex_(mutex), workers_(workers) {}
  Settling(const Settling&) = delete;
  Settling& operator=(const Settling&) = delete;
  ~Settling() { finish(); }

  /// After each write.
  void keep_up();

  /// All files that are listed, which they are no longer then.
  [[nodiscard]] std::vector<Pin> take_all();
  /// Files that were taken, and that the host has allocated all of since: what they take is booked. Those
  /// that were written to meanwhile stay listed.
  void settle(std::vector<Pin> files);

  /// Waits for what is under way on workers. REQUIRES: no keep_up() comes any more.
  void finish();

 private:
  [[nodiscard]] std::vector<Pin> take(std::size_t most);
  /// False where none is listed.
  bool write_some_out();
  void settle_one(Node& file);
  void work();

  Places& places_;
  Ledger& ledger_;
  Objects& objects_;
  OverlayLock& mutex_;
  WorkerPool& workers_;

  std::mutex state_mutex_;
  std::condition_variable ended_;
  bool is_at_work_ = false;  // a worker is
};

}  // namespace layerboot::overlay
