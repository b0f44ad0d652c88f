// Burials: large files without a name, freed where nobody waits for it.
//
// The host needs a while to free a large file, so a worker closes it. What it was charged is given back when
// it is free: until then neither the budget nor the host has that room. Who needs it does not go without: it
// closes files itself, or waits for those that a worker is at.
#pragma once

#include <cstddef>
#include <memory>

#include "oci-mount/base/worker_pool.h"
#include "oci-mount/overlay/fd_cache.h"
#include "oci-mount/overlay/quota.h"

namespace layerboot::overlay {

/// Thread-safe, under whatever lock of the caller.
class Burials {
 public:
  /// Files that wait for a worker. At the bound, who brings one more has one to free.
  static constexpr std::size_t kMost = 64;
  /// A file that no worker is there for. Whoever lets go of it frees one of those that wait, if there is any:
  /// outside every lock that others wait for, as the host needs a while.
  using Own = std::shared_ptr<const void>;

  /// `workers` outlives it, and so does the Quota of each charge.
  explicit Burials(WorkerPool& workers);
  /// When all are free.
  ~Burials();
  Burials(const Burials&) = delete;
  Burials& operator=(const Burials&) = delete;

  /// `last` keeps the file on the host, and `charge` is what it takes there. Null where a worker frees it.
  [[nodiscard]] Own add(SharedFd last, Quota::Reservation charge);
  /// Frees one here, or waits until one is free. False where there is none.
  bool finish_one();

 private:
  struct Waiting;
  std::shared_ptr<Waiting> waiting_;  // also of jobs that find nothing left to do
  WorkerPool& workers_;
};

}  // namespace layerboot::overlay
