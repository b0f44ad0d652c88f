#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "oci-mount/base/progress.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

/// Building an index takes two threads, and up to 16 MiB of buffers.
constexpr unsigned kThreadsPerLayer = 2;
constexpr unsigned kMaxLayersAtOnce = 4;

unsigned layers_at_once(const OpenOptions& options, std::size_t layer_count) {
  const unsigned wanted = options.layers_at_once != 0
                              ? options.layers_at_once
                              : std::thread::hardware_concurrency() / kThreadsPerLayer;
  return std::clamp(std::min(wanted, static_cast<unsigned>(layer_count)), 1U, kMaxLayersAtOnce);
}

/// One line for all layers that have to be indexed.
class SharedProgress {
 public:
  SharedProgress(const store::Image& image, const OpenOptions& options) {
    if (!options.show_progress) return;
    std::uint64_t total_bytes = 0;
    std::error_code ignored;
    for (const store::ImageLayer& layer : image.layers) {
      const auto index = options.index_dir / LayerIdentity::of_blob(layer.blob).index_file_name();
      if (!layer.is_directory && !std::filesystem::exists(index, ignored)) total_bytes += layer.size_bytes;
    }
    progress_.emplace(str_cat("indexing ", image.reference), total_bytes);
  }
  /// For one layer, which begins again where it takes a second pass.
  std::function<void(std::uint64_t)> for_layer() {
    if (!progress_) return {};
    return [this, before = std::uint64_t{0}](std::uint64_t done_bytes) mutable {
      const std::lock_guard lock(mutex_);
      done_bytes_ += done_bytes - before;
      before = done_bytes;
      progress_->update(done_bytes_);
    };
  }

 private:
  std::mutex mutex_;
  std::optional<Progress> progress_;
  std::uint64_t done_bytes_ = 0;
};

/// How much the layers of an image may still unpack to.
class ImageSize {
 public:
  Result<void> add(const Layer& layer) {
    const std::uint64_t layer_bytes = layer.index().stream_size_bytes();
    if (layer_bytes > kMaxImageBytes - total_bytes_) {
      return fail(E2BIG, "its layers unpack to more than the limit of ", kMaxImageBytes,
                  " bytes for an image");
    }
    total_bytes_ += layer_bytes;
    return {};
  }

 private:
  std::uint64_t total_bytes_ = 0;
};

using Opened = Result<std::shared_ptr<const Layer>>;

/// Several at once, each by a thread that takes the next one. After an error no further layer is begun.
std::vector<Opened> open_all(const store::Image& image, const OpenOptions& options) {
  std::vector<Opened> opened(image.layers.size());
  SharedProgress progress(image, options);
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (std::size_t i = next++; i < opened.size() && !failed; i = next++) {
      OpenOptions one = options;
      one.on_progress = progress.for_layer();
      opened[i] = open_layer(image.layers[i], one);
      if (!opened[i]) failed = true;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < layers_at_once(options, opened.size()); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  return opened;
}

}  // namespace

Result<std::vector<std::shared_ptr<const Layer>>> open_layers(
    const store::Image& image, std::span<const std::filesystem::path> add_layers,
    const OpenOptions& options) {
  std::vector<Opened> opened = open_all(image, options);
  for (const Opened& layer : opened) {
    if (!layer) return while_doing(layer.error(), "image \"", image.reference, "\"");
  }
  std::vector<std::shared_ptr<const Layer>> layers;
  ImageSize size;
  for (std::size_t i = 0; i < opened.size(); ++i) {
    // A directory is not unpacked, but read where it lies, however large.
    if (!image.layers[i].is_directory) {
      if (auto fits = size.add(**opened[i]); !fits)
        return while_doing(fits.error(), "image \"", image.reference, "\"");
    }
    layers.push_back(std::move(*opened[i]));
  }
  for (const auto& tar_file : add_layers) {
    LB_ASSIGN(auto layer, open_layer(tar_file, options));
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace layerboot::layer
