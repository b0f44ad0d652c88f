#include "oci-mount/vfs/image_source.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "oci-mount/base/files.h"
#include "oci-mount/tree/tree_builder.h"

namespace layerboot::vfs {

namespace {

unsigned worker_count(const ImageSourceOptions& options) {
  if (options.worker_threads != 0) return options.worker_threads;
  return std::clamp(std::thread::hardware_concurrency(), 1U, ImageSourceOptions::kMaxWorkers);
}

std::uint64_t largest_span_bytes(const std::vector<std::shared_ptr<const layer::Layer>>& layers) {
  std::uint64_t most = 0;
  for (const auto& layer : layers) most = std::max(most, layer->index().checkpoints().largest_span_bytes());
  return most;
}

}  // namespace

ImageSource::ImageSource(const ImageSourceOptions& options, store::Image opened,
                         std::vector<std::shared_ptr<const layer::Layer>> opened_layers,
                         std::shared_ptr<const tree::Tree> opened_tree)
    : image(std::move(opened)),
      layers(std::move(opened_layers)),
      tree(std::move(opened_tree)),
      memory(options.memory_limit_bytes, largest_span_bytes(layers)),
      cache(memory, options.cache_bytes),
      workers(worker_count(options)),
      reader(layers, cache, workers) {}

Result<std::unique_ptr<ImageSource>> open_image_source(std::string_view reference,
                                                       const ImageSourceOptions& options) {
  const std::filesystem::path index_dir =
      options.index_dir.empty() ? options.dirs.index() : options.index_dir;
  LB_ASSIGN(store::Image image, store::open_image(reference, options.dirs, {.platform = options.platform}));
  LB_TRY(make_private_directory(index_dir));
  LB_ASSIGN(auto layers, layer::open_layers(image, options.add_layers,
                                            {.index_dir = index_dir,
                                             .show_progress = options.show_progress,
                                             .clone_mounts = options.clone_mounts}));
  if (auto enough = MemoryBudget::check(options.memory_limit_bytes, largest_span_bytes(layers)); !enough)
    return while_doing(std::move(enough).error(), reference);
  LB_ASSIGN(std::shared_ptr<const tree::Tree> tree, tree::open_tree(layers, index_dir));
  // The tree's key names these layers, so only a forged file gets here.
  if (tree->layer_count() > layers.size())
    return fail(EBADMSG, reference, ": its tree index names more layers than it has");
  return std::make_unique<ImageSource>(options, std::move(image), std::move(layers), std::move(tree));
}

}  // namespace layerboot::vfs
