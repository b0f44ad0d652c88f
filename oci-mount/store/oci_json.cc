#include "oci-mount/store/oci_json.h"

#include <array>
#include <utility>

#include "oci-mount/store/json_document.h"

namespace layerboot::store {

namespace {

constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kOciConfig = "application/vnd.oci.image.config.v1+json";
constexpr std::string_view kDockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";

struct LayerType {
  std::string_view media_type;
  Compression compression;
};
constexpr std::array kLayerTypes{
    LayerType{"application/vnd.oci.image.layer.v1.tar", Compression::kNone},
    LayerType{"application/vnd.oci.image.layer.v1.tar+gzip", Compression::kGzip},
    LayerType{"application/vnd.oci.image.layer.v1.tar+zstd", Compression::kZstd},
    LayerType{"application/vnd.docker.image.rootfs.diff.tar", Compression::kNone},
    LayerType{"application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::kGzip},
    LayerType{"application/vnd.docker.image.rootfs.diff.tar.zstd", Compression::kZstd},
};

struct BlobRef {
  std::string media_type;
  Digest digest;
  std::uint64_t size_bytes = 0;
};

Result<BlobRef> parse_descriptor(const Json& json, std::string_view what) {
  if (!json.is_object()) return fail(EINVAL, what, ": a descriptor is no object");
  BlobRef ref;
  LB_ASSIGN(ref.media_type, string_member(json, "mediaType", what));
  LB_ASSIGN(const std::string digest, string_member(json, "digest", what));
  auto parsed = Digest::parse(digest);
  if (!parsed) return while_doing(parsed.error(), what);
  ref.digest = *parsed;
  LB_ASSIGN(ref.size_bytes, size_member(json, "size", what));
  return ref;
}

/// EINVAL unless the document says, or leaves open, that it is what it was taken for.
Result<void> check_kind(const Json& document, DocumentKind kind, std::string_view what) {
  if (find_member(document, "layers") != nullptr && find_member(document, "manifests") != nullptr) {
    return fail(EINVAL, what,
                ": has both \"layers\" and \"manifests\", so it could be read in two ways: refused");
  }
  LB_ASSIGN(const std::string media_type, string_member(document, "mediaType", what));
  const bool index = kind == DocumentKind::kIndex;
  const bool fits = media_type.empty() || media_type == (index ? kOciIndex : kOciManifest) ||
                    media_type == (index ? kDockerIndex : kDockerManifest);
  if (!fits) {
    return fail(EINVAL, what, ": is of type ", media_type, ", not ",
                index ? "an image index" : "an image manifest",
                "; it is no image of this kind: copy it with skopeo to an OCI layout");
  }
  const auto* const list = find_member(document, index ? "manifests" : "layers");
  if (list == nullptr || !list->is_array()) {
    return fail(EINVAL, what, ": has no list \"", index ? "manifests" : "layers", "\"");
  }
  return {};
}

Result<LayerDescriptor> parse_layer(const Json& json, std::string_view what) {
  LB_ASSIGN(const BlobRef ref, parse_descriptor(json, what));
  for (const LayerType& type : kLayerTypes) {
    if (ref.media_type == type.media_type) {
      return LayerDescriptor{ref.media_type, type.compression, ref.digest, ref.size_bytes};
    }
  }
  if (ref.media_type.find("+encrypted") != std::string::npos) {
    return fail(ENOTSUP, what, ": layer ", ref.digest.text(),
                " is encrypted: decrypt the image first (skopeo copy)");
  }
  if (ref.media_type.find("nondistributable") != std::string::npos ||
      ref.media_type.find("foreign") != std::string::npos) {
    return fail(ENOTSUP, what, ": layer ", ref.digest.text(),
                " is a foreign layer, which an image does not carry");
  }
  return fail(ENOTSUP, what, ": layer ", ref.digest.text(), " has the unknown type \"", ref.media_type,
              "\"; tar, tar+gzip and tar+zstd are known");
}

Result<std::optional<Platform>> parse_platform(const Json& descriptor, std::string_view what) {
  const Json* const json = find_member(descriptor, "platform");
  if (json == nullptr) return std::optional<Platform>();
  Platform platform;
  LB_ASSIGN(platform.os, string_member(*json, "os", what));
  LB_ASSIGN(platform.architecture, string_member(*json, "architecture", what));
  return std::optional(std::move(platform));
}

}  // namespace

std::string_view compression_name(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "plain tar";
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
  }
  return "unknown";
}

Result<IndexDocument> parse_index(std::string_view text, std::string_view what) {
  LB_ASSIGN(const Json document, parse_json_object(text, kMaxIndexJsonBytes, kMaxJsonDepth, what));
  LB_TRY(check_kind(document, DocumentKind::kIndex, what));
  const Json& manifests = *find_member(document, "manifests");
  if (manifests.size() > kMaxManifests) {
    return fail(EINVAL, what, ": ", manifests.size(), " manifests are over the limit of ", kMaxManifests);
  }
  IndexDocument index;
  for (const Json& json : manifests) {
    LB_ASSIGN(const BlobRef ref, parse_descriptor(json, what));
    ManifestDescriptor entry;
    if (const Json* const annotations = find_member(json, "annotations"); annotations != nullptr) {
      LB_ASSIGN(entry.ref_name, string_member(*annotations, "org.opencontainers.image.ref.name", what));
    }
    if (ref.media_type == kOciIndex || ref.media_type == kDockerIndex) {
      entry.kind = DocumentKind::kIndex;
    } else if (ref.media_type != kOciManifest && ref.media_type != kDockerManifest) {
      if (!entry.ref_name.empty()) index.others.emplace_back(entry.ref_name, ref.media_type);
      continue;
    }
    entry.digest = ref.digest;
    entry.size_bytes = ref.size_bytes;
    LB_ASSIGN(entry.platform, parse_platform(json, what));
    index.manifests.push_back(std::move(entry));
  }
  return index;
}

Result<ManifestDocument> parse_manifest(std::string_view text, std::string_view what) {
  LB_ASSIGN(const Json document, parse_json_object(text, kMaxManifestJsonBytes, kMaxJsonDepth, what));
  LB_TRY(check_kind(document, DocumentKind::kManifest, what));
  const Json* const config = find_member(document, "config");
  if (config == nullptr) return fail(EINVAL, what, ": has no \"config\"");
  LB_ASSIGN(const BlobRef config_ref, parse_descriptor(*config, what));
  if (config_ref.media_type != kOciConfig && config_ref.media_type != kDockerConfig) {
    return fail(EINVAL, what, ": its config is of type \"", config_ref.media_type,
                "\": this is an artifact, not a container image");
  }
  ManifestDocument manifest;
  manifest.config = config_ref.digest;
  manifest.config_size_bytes = config_ref.size_bytes;
  const Json& layers = *find_member(document, "layers");
  if (layers.size() > kMaxLayers) {
    return fail(EINVAL, what, ": ", layers.size(), " layers are over the limit of ", kMaxLayers);
  }
  for (const Json& json : layers) {
    LB_ASSIGN(auto layer, parse_layer(json, what));
    manifest.layers.push_back(std::move(layer));
  }
  return manifest;
}

Result<ImageConfig> parse_config(std::string_view text, std::string_view what) {
  LB_ASSIGN(const Json document, parse_json_object(text, kMaxManifestJsonBytes, kMaxJsonDepth, what));
  ImageConfig image;
  LB_ASSIGN(image.platform.os, string_member(document, "os", what));
  LB_ASSIGN(image.platform.architecture, string_member(document, "architecture", what));
  if (const Json* const run = find_member(document, "config"); run != nullptr) {
    LB_ASSIGN(image.env, strings_member(*run, "Env", what));
    LB_ASSIGN(image.entrypoint, strings_member(*run, "Entrypoint", what));
    LB_ASSIGN(image.cmd, strings_member(*run, "Cmd", what));
    LB_ASSIGN(image.user, string_member(*run, "User", what));
    LB_ASSIGN(image.working_dir, string_member(*run, "WorkingDir", what));
    LB_ASSIGN(image.volumes, names_member(*run, "Volumes", what));
    LB_ASSIGN(image.stop_signal, string_member(*run, "StopSignal", what));
  }
  const Json* const rootfs = find_member(document, "rootfs");
  if (rootfs == nullptr) return fail(EINVAL, what, ": has no \"rootfs\"");
  LB_ASSIGN(const auto diff_ids, strings_member(*rootfs, "diff_ids", what));
  for (const std::string& diff_id : diff_ids) {
    auto digest = Digest::parse(diff_id);
    if (!digest) return while_doing(digest.error(), what, ": diff_ids");
    image.diff_ids.push_back(*digest);
  }
  return image;
}

}  // namespace layerboot::store
