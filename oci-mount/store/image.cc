#include "oci-mount/store/image.h"

#include <fcntl.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <system_error>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/containerd.h"
#include "oci-mount/store/content.h"
#include "oci-mount/store/docker_archive.h"
#include "oci-mount/store/manifest_choice.h"
#include "oci-mount/store/platform.h"
#include "oci-mount/store/reference.h"
#include "oci-mount/store/tar_archive.h"

namespace layerboot::store {

namespace {

/// "; it has: a, b" or "; it has no tagged image".
std::string list_tags(const IndexDocument& index) {
  std::vector<std::string> tags;
  for (const auto& entry : index.manifests) {
    if (!entry.ref_name.empty()) tags.push_back(printable(entry.ref_name));
  }
  std::sort(tags.begin(), tags.end());
  tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
  if (tags.empty()) return "it holds no tagged image";
  std::string text = "it holds: ";
  for (std::size_t i = 0; i < std::min(tags.size(), kMaxTagsListed); ++i) {
    text += str_cat(i == 0 ? "" : ", ", tags[i]);
  }
  if (tags.size() > kMaxTagsListed) text += str_cat(" and ", tags.size() - kMaxTagsListed, " more");
  return text;
}

Result<IndexDocument> read_top_index(const Reference& reference) {
  const auto path = reference.layout / "index.json";
  auto text = read_file(path, kMaxIndexJsonBytes);
  if (!text && text.error().code == ENOENT && reference.in_store) {
    return fail(ENOENT, "no image \"", reference.text, "\": the local store ", reference.layout.string(),
                " is empty; fetch it with: layerboot pull ", reference.text);
  }
  if (!text && text.error().code == ENOENT) {
    return fail(ENOENT, "no image \"", reference.text, "\": ", reference.layout.string(),
                " is no OCI layout (it has no index.json); make one with: skopeo copy SOURCE oci:",
                reference.layout.string(), ":TAG");
  }
  if (!text && text.error().code == ENOTDIR) {
    return fail(ENOTDIR, "image \"", reference.text, "\": ", reference.layout.string(),
                " is a file, no directory: an OCI archive is oci-archive:", reference.layout.string(),
                ", one of docker save docker-archive:", reference.layout.string());
  }
  if (!text) return while_doing(text.error(), "image \"", reference.text, "\"");
  return parse_index(*text, path.string());
}

/// An archive is to be opened: a directory is something else.
Result<void> check_no_directory(const Reference& reference) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(reference.layout, ignored)) return {};
  return fail(EISDIR, "image \"", reference.text, "\": ", reference.layout.string(),
              " is a directory, no archive: an OCI layout is oci:", reference.layout.string(),
              ", a root file system dir:", reference.layout.string());
}

Result<IndexDocument> read_top_index(const TarArchive& archive, const Reference& reference) {
  auto text = archive.read("index.json", kMaxIndexJsonBytes);
  if (!text && text.error().code == ENOENT) {
    return fail(ENOENT, "no image \"", reference.text, "\": ", archive.path().string(),
                " is no OCI archive (it has no index.json); what docker save made is docker-archive:FILE");
  }
  if (!text) return while_doing(text.error(), "image \"", reference.text, "\"");
  return parse_index(*text, str_cat("index.json of ", archive.path().string()));
}

/// The entries that the reference means: one image, perhaps for several platforms.
Result<std::vector<ManifestDescriptor>> choose_by_name(const IndexDocument& index,
                                                       const Reference& reference) {
  if (reference.number) {
    if (*reference.number < index.manifests.size()) return std::vector{index.manifests[*reference.number]};
    return fail(ENOENT, "no image \"", reference.text, "\": ", reference.layout.string(), " holds ",
                index.manifests.size(), " images; the first is @0");
  }
  std::vector<std::string> names = reference.names;
  const auto is_tagged = [](const ManifestDescriptor& entry) { return !entry.ref_name.empty(); };
  if (names.empty() && index.manifests.empty() && !index.others.empty())
    return fail(ENOTSUP, "image \"", reference.text, "\" can't be read: ", index.others.front().second);
  if (names.empty()) {
    // One image, though perhaps for several platforms.
    if (index.manifests.size() == 1 ||
        (!index.manifests.empty() &&
         std::none_of(index.manifests.begin(), index.manifests.end(), is_tagged))) {
      return index.manifests;
    }
    names.emplace_back("latest");
  }
  for (const std::string& name : names) {
    std::vector<ManifestDescriptor> chosen;
    std::copy_if(index.manifests.begin(), index.manifests.end(), std::back_inserter(chosen),
                 [&](const auto& entry) { return entry.ref_name == name; });
    if (!chosen.empty()) return chosen;
    for (const auto& [other, why] : index.others) {
      if (other == name) return fail(ENOTSUP, "image \"", reference.text, "\" can't be read: ", why);
    }
  }
  for (const ManifestDescriptor& entry : index.manifests) {
    if (reference.digest && entry.digest == *reference.digest) return std::vector{entry};
  }
  return fail(ENOENT, "no image \"", reference.text, "\" in ", reference.layout.string(), ": ",
              list_tags(index),
              reference.in_store ? "" : "; name one as oci:DIR:TAG or oci-archive:FILE:TAG");
}

/// What is for another platform than its index says is mislabelled on one of the two sides.
void take_word_of_index(const ManifestDescriptor& chosen, Image& image) {
  Platform& own = image.config.platform;
  const Platform& platform = platform_of_image(chosen.platform, own);
  if (platform == own) return;
  static std::mutex mutex;
  static std::set<std::string> told;
  const std::lock_guard lock(mutex);
  if (told.insert(chosen.digest.text()).second) {
    log_warn("image \"", image.reference, "\" is for ", printable(platform_text(platform)),
             " by its index, but for ", printable(platform_text(own)),
             " by its config: it is taken for what the index says");
  }
  own = platform;
}

Result<Image> assemble(const Content& content, const ManifestDescriptor& chosen, const Reference& reference,
                       const ImageOptions& options) {
  LB_ASSIGN(const std::string manifest_text,
            content.read_document(chosen.digest, chosen.size_bytes, kMaxManifestJsonBytes, "manifest"));
  LB_ASSIGN(const auto manifest, parse_manifest(manifest_text, str_cat("manifest ", chosen.digest.text())));
  LB_ASSIGN(const std::string config_text, content.read_document(manifest.config, manifest.config_size_bytes,
                                                                 kMaxManifestJsonBytes, "config"));
  Image image;
  image.reference = reference.text;
  image.manifest_digest = chosen.digest;
  auto lease = content.lease(chosen.digest);
  if (!lease) return while_doing(lease.error(), "image \"", reference.text, "\"");
  image.lease = std::move(*lease);
  LB_ASSIGN(image.config, parse_config(config_text, str_cat("config ", manifest.config.text())));
  image.config_text = config_text;
  take_word_of_index(chosen, image);
  LB_TRY(check_config(image, manifest.layers.size(), options));
  for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
    const LayerDescriptor& from = manifest.layers[i];
    ImageLayer layer;
    layer.media_type = from.media_type;
    layer.compression = from.compression;
    layer.blob = from.digest;
    layer.size_bytes = from.size_bytes;
    layer.diff_id = image.config.diff_ids[i];
    if (auto placed = content.place(layer); !placed)
      return while_doing(placed.error(), "image \"", reference.text, "\"");
    image.layers.push_back(std::move(layer));
  }
  LB_ASSIGN(image.chain_id, chain_id_of(image.config.diff_ids));
  return image;
}

/// What `skopeo copy SOURCE dir:PATH` made: an image's manifest and blobs, not the root file system that it
/// means.
bool is_skopeo_copy(const std::filesystem::path& directory) {
  constexpr std::size_t kMaxVersionBytes = 256;
  std::error_code ignored;
  if (!std::filesystem::exists(directory / "manifest.json", ignored)) return false;
  const auto version = read_file(directory / "version", kMaxVersionBytes);
  return version && version->starts_with("Directory Transport Version");
}

Result<Image> open_directory(const Reference& reference) {
  std::error_code error;
  const auto path = std::filesystem::canonical(reference.layout, error);
  if (error || !std::filesystem::is_directory(path, error)) {
    return fail(error ? error.value() : ENOTDIR, "\"", reference.text, "\": ", reference.layout.string(),
                " is no directory that can be read");
  }
  if (is_skopeo_copy(path)) {
    return fail(ENOTSUP, "\"", reference.text,
                "\" is a copy of an image that skopeo made, no root file system: ", "layerboot pull ",
                reference.text, " NAME takes it into the local store");
  }
  Image image;
  image.reference = reference.text;
  LB_ASSIGN(image.chain_id, digest_of(HashAlgorithm::kSha256, as_bytes(str_cat("dir:", path.string()))));
  ImageLayer& layer = image.layers.emplace_back();
  layer.path = path;
  layer.is_directory = true;
  return image;
}

Result<Image> open_among(const Content& content, const std::vector<ManifestDescriptor>& candidates,
                         const Reference& reference, const ImageOptions& options) {
  const std::string what = str_cat("image \"", reference.text, "\"");
  auto chosen = choose_manifest(content, candidates, options.platform, what);
  if (!chosen && chosen.error().code == ENOTSUP && options.or_other)
    chosen = choose_any_manifest(content, candidates, what);
  if (!chosen) return std::unexpected(std::move(chosen).error());
  return assemble(content, *chosen, reference, options);
}

Result<Image> open_layout(const Reference& reference, const Content& content, const IndexDocument& index,
                          const ImageOptions& options) {
  LB_ASSIGN(const auto candidates, choose_by_name(index, reference));
  return open_among(content, candidates, reference, options);
}

}  // namespace

Result<Digest> chain_id_of(const std::vector<Digest>& diff_ids) {
  if (diff_ids.empty()) return Digest();
  Digest chain = diff_ids.front();
  for (std::size_t i = 1; i < diff_ids.size(); ++i) {
    const std::string joined = str_cat(chain.text(), " ", diff_ids[i].text());
    LB_ASSIGN(chain, digest_of(HashAlgorithm::kSha256, as_bytes(joined)));
  }
  return chain;
}

std::string layer_name(const ImageLayer& layer) { return str_cat("layer ", layer.blob.text()); }

Result<std::shared_ptr<const FileBlob>> open_blob(const ImageLayer& layer) {
  if (layer.opened) return layer.opened;
  const std::string name = layer_name(layer);
  auto blob = FileBlob::open(layer.path, name);
  const bool foreign = layer.media_type.find("foreign") != std::string::npos ||
                       layer.media_type.find("nondistributable") != std::string::npos;
  if (!blob && blob.error().code == ENOENT && foreign) {
    return fail(ENOENT, name, " is a foreign layer, which this copy of the image does not carry (",
                layer.path.string(), "): whoever publishes it has to give it");
  }
  if (!blob && blob.error().code == ENOENT)
    return fail(ENOENT, name, " is missing (", layer.path.string(), "): fetch the image again");
  return blob;
}

Result<void> check_config(const Image& image, std::size_t layer_count, const ImageOptions& options) {
  if (image.config.diff_ids.size() != layer_count) {
    return fail(EINVAL, "image \"", image.reference, "\": its config lists ", image.config.diff_ids.size(),
                " diff_ids for ", layer_count, " layers");
  }
  const Platform& wanted = options.platform;
  if (!options.or_other && fit_of(image.config.platform, wanted) == Fit::kNot) {
    const std::string has = printable(platform_text(image.config.platform));
    return fail(ENOTSUP, "image \"", image.reference, "\" is for ", has, ", not for ", platform_text(wanted),
                ": --platform ", has, " takes it");
  }
  return {};
}

Result<Image> open_image(std::string_view text, const StateDirs& dirs, const ImageOptions& options) {
  LB_ASSIGN(const Reference reference, parse_reference(text, dirs));
  switch (reference.kind) {
    case SourceKind::kLayout: {
      LB_ASSIGN(const IndexDocument index, read_top_index(reference));
      return open_layout(reference, DirectoryContent(reference.layout / "blobs", false), index, options);
    }
    case SourceKind::kOciArchive: {
      LB_TRY(check_no_directory(reference));
      LB_ASSIGN(const auto archive, open_archive(reference.layout, dirs.unpacked(), options.unpacking));
      LB_ASSIGN(const IndexDocument index, read_top_index(*archive.tar, reference));
      LB_ASSIGN(Image image, open_layout(reference, ArchiveContent(archive.tar), index, options));
      image.unpacked = archive.unpacked;
      return image;
    }
    case SourceKind::kDockerArchive: {
      LB_TRY(check_no_directory(reference));
      LB_ASSIGN(const auto archive, open_archive(reference.layout, dirs.unpacked(), options.unpacking));
      return open_docker_archive(archive, reference, options, dirs.cache / "digest");
    }
    case SourceKind::kContainerd: {
      LB_ASSIGN(const ManifestDescriptor top, find_in_containerd(reference));
      const DirectoryContent content(containerd_blobs(reference.layout), true);
      return open_among(content, {top}, reference, options);
    }
    case SourceKind::kDirectory:
      return open_directory(reference);
  }
  return fail(EINVAL, "\"", text, "\" is of an unknown kind");
}

}  // namespace layerboot::store
