#include "oci-mount/layer/layer.h"

#include <sys/stat.h>

#include <atomic>
#include <functional>

#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/layer/directory_layer.h"
#include "oci-mount/layer/index_builder.h"
#include "oci-mount/layer/index_child.h"
#include "oci-mount/layer/index_format.h"

namespace layerboot::layer {

namespace {

std::uint64_t next_number() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

Result<LayerIndex> build_and_open(const store::Blob& blob, const ExpectedLayer& expected,
                                  const std::filesystem::path& path, const OpenOptions& options) {
  LB_TRY(make_directories(options.index_dir));
  std::optional<Progress> progress;
  if (options.show_progress && !options.on_progress)
    progress.emplace(str_cat("indexing ", blob.name()), blob.size_bytes());
  const auto on_progress = [&](std::uint64_t done_bytes) {
    if (progress) progress->update(done_bytes);
    if (options.on_progress) options.on_progress(done_bytes);
  };
  auto index = has_index_children() ? build_index_in_child(blob, expected, path, on_progress)
                                    : build_index(blob, expected, path, on_progress);
  // Here, as the child that indexed it has no standard error.
  if (index && index->recut_size_bytes() != 0) {
    log_info(blob.name(), " can only be decoded from its beginning: it was cut anew, once, into ",
             recut_path(path).string());
  }
  return index;
}

/// What building the index checks, of one that is there: the answer must not hang on what is cached. ESTALE
/// where only building it again can tell.
Result<void> check_diff_id(const LayerIndex& index, const ExpectedLayer& expected, const std::string& name) {
  if (!expected.digests) return {};
  const IdentityRecord wanted = identity_record(expected.digests->diff_id);
  if (index.diff_id() == wanted) return {};
  if (index.diff_id().kind != wanted.kind)
    return fail(ESTALE, "the index of ", name, " was checked against a DiffID of another algorithm");
  return wrong_diff_id(name, digest_in(index.diff_id()), expected.digests->diff_id);
}

/// The file that a layer in large zstd frames is read from.
Result<std::shared_ptr<const store::Blob>> open_recut(const LayerIndex& index,
                                                      const std::filesystem::path& index_path,
                                                      const std::string& name) {
  LB_ASSIGN(UniqueFd fd, open_trusted(recut_path(index_path)));
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0) return errno_error("fstat of ", recut_path(index_path).string());
  auto blob = store::FileBlob::adopt(std::move(fd), 0, static_cast<std::uint64_t>(st.st_size),
                                     str_cat(name, " (recut)"));
  if (blob->size_bytes() != index.recut_size_bytes())
    return fail(EBADMSG, blob->name(), " has ", blob->size_bytes(), " of ", index.recut_size_bytes(),
                " bytes");
  return blob;
}

Result<std::shared_ptr<const Layer>> open_with_index(std::shared_ptr<const store::Blob> blob,
                                                     const ExpectedLayer& expected,
                                                     const OpenOptions& options) {
  const auto path = options.index_dir / expected.identity.index_file_name();
  LB_TRY(check_size(*blob, expected));
  auto index = LayerIndex::open(path, expected.identity);
  if (!index && (index.error().code == EBADMSG || index.error().code == ESTALE)) {
    log_info(index.error().describe(), "; building it again");
  }
  if (index && index->blob_size_bytes() != blob->size_bytes()) {
    return fail(EBADMSG, blob->name(), " has ", blob->size_bytes(), " of ", index->blob_size_bytes(),
                " bytes: it was cut short or is another file; fetch the image again");
  }
  if (index) {
    if (auto fits = check_diff_id(*index, expected, blob->name()); !fits) {
      if (fits.error().code != ESTALE) return std::unexpected(fits.error());
      index = std::unexpected(fits.error());
    }
  }
  if (!index) {
    if (index.error().code != ENOENT && index.error().code != EBADMSG && index.error().code != ESTALE) {
      return std::unexpected(index.error());
    }
    index = build_and_open(*blob, expected, path, options);
  }
  if (!index) return std::unexpected(index.error());
  if (index->recut_size_bytes() == 0)
    return std::make_shared<const Layer>(std::move(blob), expected.identity, std::move(*index));
  auto recut = open_recut(*index, path, blob->name());
  if (!recut) {
    log_info(recut.error().describe(), "; building it again");
    index = build_and_open(*blob, expected, path, options);
    if (!index) return std::unexpected(index.error());
    recut = open_recut(*index, path, blob->name());
  }
  if (!recut) return std::unexpected(recut.error());
  return std::make_shared<const Layer>(std::move(*recut), expected.identity, std::move(*index));
}

}  // namespace

Layer::Layer(std::shared_ptr<const store::Blob> blob, LayerIdentity identity, LayerIndex index)
    : blob_(std::move(blob)), identity_(identity), index_(std::move(index)), number_(next_number()) {}

Result<std::shared_ptr<const Layer>> open_layer(const store::ImageLayer& layer, const OpenOptions& options) {
  if (layer.is_directory) return open_directory_layer(layer.path, options);
  LB_ASSIGN(auto blob, store::open_blob(layer));
  ExpectedLayer expected;
  expected.identity = LayerIdentity::of_blob(layer.blob);
  expected.compression = layer.compression;
  expected.digests = ExpectedLayer::Digests{layer.blob, layer.size_bytes, layer.diff_id};
  return open_with_index(std::move(blob), expected, options);
}

Result<std::shared_ptr<const Layer>> open_layer(const std::filesystem::path& tar_file,
                                                const OpenOptions& options) {
  LB_ASSIGN(auto blob, store::FileBlob::open(tar_file, str_cat("layer ", tar_file.string())));
  struct stat st{};
  if (::fstat(blob->fd(), &st) != 0) return errno_error("fstat of ", tar_file.string());
  ExpectedLayer expected;
  expected.identity = LayerIdentity::of_file(st);
  std::error_code ignored;
  expected.source = std::filesystem::absolute(tar_file, ignored).string();
  return open_with_index(std::move(blob), expected, options);
}

std::string layers_key(std::span<const std::shared_ptr<const Layer>> layers) {
  std::string key = str_cat("layers ", kIndexFormatVersion, ".", kIndexPolicyVersion);
  for (const auto& layer : layers) key += str_cat("\n", layer->identity().text());
  return key;
}

}  // namespace layerboot::layer
