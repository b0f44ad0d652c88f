// From the options to the file system that is served.
#pragma once

#include <chrono>
#include <memory>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/quota.h"
#include "oci-mount/vfs/image_source.h"
#include "oci-mount/vfs/types.h"
#include "vfsd/daemon/options.h"
#include "vfsd/daemon/sandbox.h"

namespace layerboot::vfsd {

/// The file system and what it works with, which goes after it.
struct ServedImage {
  std::unique_ptr<vfs::ImageSource> source;  // null for a directory in place
  std::unique_ptr<MemoryBudget> own_memory;  // of that, and the next
  std::unique_ptr<WorkerPool> own_workers;
  std::unique_ptr<vfs::FileSystem> file_system;
  overlay::Quota* quota = nullptr;  // of the file system; null where that has none
  bool has_recorded_upper = false;  // with owners and marks in attributes that take no rights of root
  std::chrono::steady_clock::time_point
      indexes_open;  // when they were; of a directory in place, when that was

  [[nodiscard]] MemoryBudget& memory() const { return source ? source->memory : *own_memory; }
  [[nodiscard]] WorkerPool& workers() const { return source ? source->workers : *own_workers; }
  [[nodiscard]] Served served() const;
};

/// Opens the image or the directory, its indexes (made now where missing, which takes a while and shows
/// progress), the upper and its quota. Everything that a request may need is open afterwards, and directories
/// with what is mounted in them. EINVAL where the memory limit is too little.
Result<ServedImage> serve_image(const Options& options, Sandbox& sandbox);

}  // namespace layerboot::vfsd
