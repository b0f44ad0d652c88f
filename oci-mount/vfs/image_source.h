// ImageSource: from a reference to an image that can be read. What every door opens first.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/base/worker_pool.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/span_cache.h"
#include "oci-mount/layer/span_reader.h"
#include "oci-mount/store/image.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::vfs {

struct ImageSourceOptions {
  StateDirs dirs;                                     // where the local store is
  store::Platform platform = store::host_platform();  // which of an image for several
  std::filesystem::path index_dir;                    // kept indexes; empty means dirs.index()
  std::vector<std::filesystem::path> add_layers;  // plain tars, on top of the image's layers in this order
  std::size_t cache_bytes = layer::SpanCache::kDefaultBytes;
  std::uint64_t memory_limit_bytes = MemoryBudget::kDefaultLimitBytes;
  unsigned worker_threads = 0;  // that decode; 0 means one for each CPU, at most kMaxWorkers
  bool show_progress = true;    // of indexing, on standard error
  bool clone_mounts = false;    // of a directory: see layer::OpenOptions

  static constexpr unsigned kMaxWorkers = 8;
};

/// Owns all that reading an image needs. Thread-safe once made. Member order is the order of need: readers
/// go before what they read from.
struct ImageSource {
  ImageSource(const ImageSourceOptions& options, store::Image opened,
              std::vector<std::shared_ptr<const layer::Layer>> opened_layers,
              std::shared_ptr<const tree::Tree> opened_tree);

  const store::Image image;
  const std::vector<std::shared_ptr<const layer::Layer>> layers;
  const std::shared_ptr<const tree::Tree> tree;
  MemoryBudget memory;
  layer::SpanCache cache;
  WorkerPool workers;
  layer::SpanReader reader;
};

/// Finds the image, opens its layers and its tree, and indexes what has no index yet: that reads whole blobs,
/// and blocks. Starts threads: fork before. An error names the reference, blob or path; EINVAL where the
/// memory limit is too little to read this image with.
Result<std::unique_ptr<ImageSource>> open_image_source(std::string_view reference,
                                                       const ImageSourceOptions& options);

}  // namespace layerboot::vfs
