#include "oci-mount/store/docker_archive.h"

#include <algorithm>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/blob_digest.h"
#include "oci-mount/store/compression.h"
#include "oci-mount/store/json_document.h"
#include "oci-mount/store/tar_archive.h"

namespace layerboot::store {

namespace {

constexpr std::size_t kMaxImages = 4096;

bool has_tag(const DockerImage& image, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::find(image.tags.begin(), image.tags.end(), name) != image.tags.end();
  });
}

Result<DockerImage> choose(const std::vector<DockerImage>& images, const Reference& reference) {
  if (reference.number && *reference.number < images.size()) return images[*reference.number];
  if (reference.names.empty() && !reference.number && images.size() == 1) return images.front();
  for (const DockerImage& image : images) {
    if (has_tag(image, reference.names)) return image;
  }
  std::string tags;
  std::size_t listed = 0;
  for (const DockerImage& image : images) {
    for (const std::string& tag : image.tags) {
      if (++listed <= kMaxTagsListed) tags += str_cat(tags.empty() ? "" : ", ", printable(tag));
    }
  }
  return fail(ENOENT, "no image \"", reference.text, "\": the archive holds ", images.size(),
              images.size() == 1 ? " image: " : " images: ", tags.empty() ? "none with a name" : tags,
              "; name one as docker-archive:FILE:NAME:TAG, or docker-archive:FILE:@0 and so on");
}

Result<ImageLayer> find_layer(const TarArchive& archive, const std::string& name, const Digest& diff_id,
                              const std::filesystem::path& digest_cache) {
  ImageLayer layer;
  layer.media_type = "application/vnd.docker.image.rootfs.diff.tar";
  layer.path = archive.path();
  layer.diff_id = diff_id;
  LB_ASSIGN(auto blob,
            archive.find(name, str_cat("layer ", printable(name), " of ", archive.path().string())));
  layer.size_bytes = blob->size_bytes();
  const auto compression = compression_of(*blob);
  if (!compression) return while_doing(compression.error(), blob->name());
  layer.compression = *compression;
  if (layer.compression == Compression::kNone) {
    layer.blob = diff_id;
  } else {
    LB_ASSIGN(layer.blob, digest_of_blob(*blob, digest_cache));
  }
  layer.opened = blob->part(0, blob->size_bytes(), layer_name(layer));
  return layer;
}

/// What else it is.
Error no_manifest(const TarArchive& archive, const Reference& reference) {
  const std::string file = reference.layout.string();
  const auto has = [&](std::string_view name) { return archive.find(name, {}).has_value(); };
  std::string what = "so it is not of docker save";
  if (has("index.json")) {
    what = str_cat("but an OCI archive's index.json: name it oci-archive:", file);
  } else if (archive.has_directory("etc") || archive.has_directory("usr")) {
    what = str_cat(
        "and is a root file system, as docker export makes it: unpack it into a directory "
        "(tar -xpf ",
        file, " --numeric-owner -C DIR), and name that dir:DIR");
  }
  return {ENOENT, str_cat("no image \"", reference.text, "\": ", file, " has no manifest.json, ", what)};
}

}  // namespace

Result<std::vector<DockerImage>> parse_docker_manifest(std::string_view text, std::string_view what) {
  if (text.size() > kMaxManifestJsonBytes) {
    return fail(EINVAL, what, ": ", text.size(), " bytes are over the limit of ", kMaxManifestJsonBytes);
  }
  // The one document that is a list.
  const std::string wrapped = str_cat("{\"images\":", text, "}");
  LB_ASSIGN(const Json document, parse_json_object(wrapped, wrapped.size(), kMaxJsonDepth, what));
  const Json* const list = find_member(document, "images");
  if (list == nullptr || !list->is_array() || document.size() != 1)
    return fail(EINVAL, what, ": is no list of images");
  if (list->size() > kMaxImages)
    return fail(EINVAL, what, ": ", list->size(), " images are over the limit of ", kMaxImages);
  std::vector<DockerImage> images;
  for (const Json& json : *list) {
    DockerImage image;
    LB_ASSIGN(image.config, string_member(json, "Config", what));
    LB_ASSIGN(image.layers, strings_member(json, "Layers", what));
    LB_ASSIGN(image.tags, strings_member(json, "RepoTags", what));
    if (image.config.empty()) return fail(EINVAL, what, ": has an image without \"Config\"");
    if (image.layers.size() > kMaxLayers) {
      return fail(EINVAL, what, ": ", image.layers.size(), " layers are over the limit of ", kMaxLayers);
    }
    images.push_back(std::move(image));
  }
  return images;
}

Result<std::vector<DockerImage>> read_docker_manifest(const OpenedArchive& opened,
                                                      const Reference& reference) {
  auto text = opened.tar->read("manifest.json", kMaxManifestJsonBytes);
  if (!text && text.error().code == ENOENT) return std::unexpected(no_manifest(*opened.tar, reference));
  if (!text) return std::unexpected(text.error());
  return parse_docker_manifest(*text, str_cat("manifest.json of ", reference.layout.string()));
}

Result<Image> open_docker_archive(const OpenedArchive& opened, const Reference& reference,
                                  const ImageOptions& options, const std::filesystem::path& digest_cache) {
  const auto& archive = opened.tar;
  LB_ASSIGN(const auto images, read_docker_manifest(opened, reference));
  LB_ASSIGN(const DockerImage chosen, choose(images, reference));
  LB_ASSIGN(const std::string config, archive->read(chosen.config, kMaxManifestJsonBytes));
  Image image;
  image.reference = reference.text;
  image.unpacked = opened.unpacked;
  // The config names the layers by their DiffIDs; manifest.json, which is all images' together, by files.
  LB_ASSIGN(image.manifest_digest, digest_of(HashAlgorithm::kSha256, as_bytes(config)));
  LB_ASSIGN(image.config, parse_config(config, str_cat("config ", chosen.config)));
  image.config_text = config;
  LB_TRY(check_config(image, chosen.layers.size(), options));
  for (std::size_t i = 0; i < chosen.layers.size(); ++i) {
    LB_ASSIGN(auto layer, find_layer(*archive, chosen.layers[i], image.config.diff_ids[i], digest_cache));
    image.layers.push_back(std::move(layer));
  }
  LB_ASSIGN(image.chain_id, chain_id_of(image.config.diff_ids));
  return image;
}

}  // namespace layerboot::store
