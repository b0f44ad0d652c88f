#include "vfsd/daemon/serve_image.h"

#include <algorithm>

#include "oci-mount/base/own_places.h"
#include "oci-mount/store/reference.h"
#include "oci-mount/vfs/image_fs.h"
#include "oci-mount/vfs/share_fs.h"

namespace layerboot::vfsd {

namespace {

/// For syncfs(2) alone.
constexpr unsigned kShareWorkers = 1;

Result<ServedImage> serve_share(const Options& options, Sandbox& sandbox) {
  ServedImage served;
  if (auto enough = MemoryBudget::check(options.memory_limit_bytes, 0); !enough)
    return while_doing(std::move(enough).error(), "--memory-limit");
  served.own_memory = std::make_unique<MemoryBudget>(options.memory_limit_bytes);
  served.own_workers = std::make_unique<WorkerPool>(kShareWorkers);
  LB_ASSIGN(const auto directory, sandbox.hold_share(options.share));
  LB_ASSIGN(served.file_system, vfs::ShareFs::open({.directory = directory,
                                                    .ids = options.ids,
                                                    .read_only = options.read_only,
                                                    .max_descriptors = Sandbox::share_descriptors()},
                                                   *served.own_workers, *served.own_memory));
  served.indexes_open = std::chrono::steady_clock::now();
  return served;
}

/// Where something is written while an image is opened: indexes, and what an archive is unpacked into.
Result<std::vector<std::filesystem::path>> caches_of(const std::string& image,
                                                     const vfs::ImageSourceOptions& options) {
  std::vector<std::filesystem::path> caches{options.index_dir};
  LB_ASSIGN(const store::Reference reference, store::parse_reference(image, options.dirs));
  const bool archive =
      reference.kind == store::SourceKind::kOciArchive || reference.kind == store::SourceKind::kDockerArchive;
  if (archive) caches.push_back(std::filesystem::absolute(options.dirs.unpacked()));
  if (reference.kind == store::SourceKind::kDockerArchive)
    caches.push_back(std::filesystem::absolute(options.dirs.cache / "digest"));
  return caches;
}

}  // namespace

Served ServedImage::served() const {
  if (!source) return Served::kShare;
  const bool is_directory =
      std::ranges::any_of(source->image.layers, [](const auto& layer) { return layer.is_directory; });
  return is_directory ? Served::kImageDirectory : Served::kImage;
}

Result<ServedImage> serve_image(const Options& options, Sandbox& sandbox) {
  if (!options.share.empty()) return serve_share(options, sandbox);
  vfs::ImageSourceOptions source_options;
  LB_ASSIGN(source_options.dirs, StateDirs::from_environment());
  close_own_places(source_options.dirs);
  source_options.index_dir =
      std::filesystem::absolute(options.index_dir.empty() ? source_options.dirs.index() : options.index_dir);
  const std::filesystem::path upper_directory =
      options.read_only ? std::filesystem::path() : std::filesystem::absolute(options.upper);
  LB_ASSIGN(const auto caches, caches_of(options.image, source_options));
  LB_TRY(sandbox.hold_host(upper_directory, caches));
  source_options.platform = options.platform;
  source_options.add_layers = options.add_layers;
  source_options.cache_bytes = options.cache_bytes;
  source_options.memory_limit_bytes = options.memory_limit_bytes;
  source_options.show_progress = !options.quiet;
  source_options.clone_mounts = sandbox.has_namespaces();
  ServedImage served;
  LB_ASSIGN(served.source, vfs::open_image_source(options.image, source_options));
  LB_TRY(sandbox.hold_layers());
  served.indexes_open = std::chrono::steady_clock::now();
  if (options.read_only) {
    LB_ASSIGN(served.file_system, vfs::make_read_only_fs(*served.source));
    return served;
  }
  vfs::UpperOptions upper;
  upper.directory = upper_directory;
  upper.record_owners = options.record_owners;
  upper.quota_bytes = options.quota_bytes;
  upper.quota_inodes = options.quota_inodes;
  if (options.host_floor_bytes) upper.host_floor_bytes = *options.host_floor_bytes;
  LB_ASSIGN(auto writable, vfs::make_writable_fs(*served.source, upper));
  served.quota = &writable->quota();
  served.has_recorded_upper = writable->keeping() == overlay::Keeping::kRecorded;
  served.file_system = std::move(writable);
  return served;
}

}  // namespace layerboot::vfsd
