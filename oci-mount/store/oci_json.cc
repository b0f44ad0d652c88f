#include "oci-mount/store/oci_json.h"

#include <algorithm>
#include <array>
#include <utility>

#include "oci-mount/base/printable.h"
#include "oci-mount/store/json_document.h"
#include "oci-mount/store/media_types.h"

namespace layerboot::store {

namespace {

constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
constexpr std::string_view kDockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";

/// What layers' media types begin with; what stands behind that ("+gzip", ".zstd") is a hint.
constexpr std::array<std::string_view, 6> kLayerTypes = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff",
    "application/vnd.docker.container.image.rootfs.diff+x-gtar",
    "application/x-tar",
    // Foreign ones are as good as others where their blob is there.
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff",
};

/// By what stands behind.
Compression hinted_compression(std::string_view media_type) {
  for (const Compression one :
       {Compression::kGzip, Compression::kZstd, Compression::kXz, Compression::kBzip2}) {
    if (media_type.contains(compression_name(one))) return one;
  }
  return Compression::kNone;
}

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
  const bool fits = media_type.empty() || media_type == (index ? kOciIndex : kOciManifestType) ||
                    media_type == (index ? kDockerIndex : kDockerManifest);
  if (!fits) {
    return fail(EINVAL, what, ": is of type ", printable(media_type), ", not ",
                index ? "an image index" : "an image manifest",
                "; it is no image of this kind: copy it with skopeo to an OCI layout");
  }
  const auto list = document.find(index ? "manifests" : "layers");
  if (list == document.end() || (!list->is_array() && !list->is_null())) {
    return fail(EINVAL, what, ": has no list \"", index ? "manifests" : "layers", "\"");
  }
  return {};
}

Result<LayerDescriptor> parse_layer(const Json& json, std::string_view what) {
  LB_ASSIGN(const BlobRef ref, parse_descriptor(json, what));
  if (ref.media_type.contains("+encrypted")) {
    return fail(ENOTSUP, what, ": layer ", ref.digest.text(),
                " is encrypted: decrypt the image first (skopeo copy)");
  }
  const bool known = std::ranges::any_of(
      kLayerTypes, [&](std::string_view begin) { return ref.media_type.starts_with(begin); });
  if (known)
    return LayerDescriptor{ref.media_type, hinted_compression(ref.media_type), ref.digest, ref.size_bytes};
  return fail(ENOTSUP, what, ": layer ", ref.digest.text(), " has the unknown type \"",
              printable(ref.media_type), "\", which is no tar's");
}

Result<std::optional<Platform>> parse_platform(const Json& descriptor, std::string_view what) {
  const Json* const json = find_member(descriptor, "platform");
  if (json == nullptr) return std::optional<Platform>();
  Platform platform;
  LB_ASSIGN(platform.os, string_member(*json, "os", what));
  LB_ASSIGN(platform.architecture, string_member(*json, "architecture", what));
  LB_ASSIGN(platform.variant, string_member(*json, "variant", what));
  return std::optional(normalized(std::move(platform)));
}

/// What Docker wrote as the config's type in its manifests before 1.10.1, and other tools of that time.
bool is_old_docker_config(std::string_view type) {
  return type == "application/octet-stream" || type == "application/json" || type == "text/html" ||
         type == "text/plain" || type.empty();
}

bool is_config(std::string_view type) { return type == kOciConfigType || type == kDockerConfig; }

/// What goes along with an image in its index, and is none.
Result<bool> is_attestation(const Json& descriptor, std::string_view what) {
  const Json* const annotations = find_member(descriptor, "annotations");
  if (annotations == nullptr) return false;
  LB_ASSIGN(const auto type, string_member(*annotations, "vnd.docker.reference.type", what));
  return type == "attestation-manifest";
}

std::string name_in(const Json& descriptor, const char* annotation = "org.opencontainers.image.ref.name") {
  const Json* const annotations = find_member(descriptor, "annotations");
  if (annotations == nullptr) return {};
  return string_member(*annotations, annotation, "").value_or(std::string());
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
    case Compression::kXz:
      return "xz";
    case Compression::kBzip2:
      return "bzip2";
  }
  return "unknown";
}

Result<ManifestDescriptor> parse_index_entry(const Json& json, std::string_view what) {
  LB_ASSIGN(const BlobRef ref, parse_descriptor(json, what));
  ManifestDescriptor entry;
  entry.ref_name = name_in(json);
  entry.full_name = name_in(json, "io.containerd.image.name");
  if (ref.media_type.empty())
    return fail(ENOTSUP, "its entry in the index has no mediaType; write it anew with: skopeo copy");
  if (ref.media_type == kOciIndex || ref.media_type == kDockerIndex) {
    entry.kind = DocumentKind::kIndex;
  } else if (ref.media_type != kOciManifestType && ref.media_type != kDockerManifest) {
    return fail(ENOTSUP, "it is of type ", printable(ref.media_type),
                ", which is no image that can be read; convert it with: skopeo copy --format oci");
  }
  entry.digest = ref.digest;
  entry.size_bytes = ref.size_bytes;
  LB_ASSIGN(entry.platform, parse_platform(json, what));
  LB_ASSIGN(entry.is_attestation, is_attestation(json, what));
  LB_ASSIGN(entry.artifact_type, string_member(json, "artifactType", what));
  if (is_config(entry.artifact_type)) entry.artifact_type.clear();
  return entry;
}

Result<IndexDocument> parse_index(std::string_view text, std::string_view what) {
  LB_ASSIGN(const Json document, parse_json_object(text, kMaxIndexJsonBytes, kMaxJsonDepth, what));
  LB_TRY(check_kind(document, DocumentKind::kIndex, what));
  const Json& manifests = document["manifests"];
  if (manifests.size() > kMaxManifests) {
    return fail(EINVAL, what, ": ", manifests.size(), " manifests are over the limit of ", kMaxManifests);
  }
  IndexDocument index;
  for (const Json& json : manifests) {
    auto entry = parse_index_entry(json, what);
    if (entry) {
      index.manifests.push_back(std::move(*entry));
    } else {
      index.others.emplace_back(name_in(json), entry.error().text);
    }
  }
  return index;
}

Result<ManifestDocument> parse_manifest(std::string_view text, std::string_view what) {
  LB_ASSIGN(const Json document, parse_json_object(text, kMaxManifestJsonBytes, kMaxJsonDepth, what));
  LB_TRY(check_kind(document, DocumentKind::kManifest, what));
  const Json* const config = find_member(document, "config");
  if (config == nullptr) return fail(EINVAL, what, ": has no \"config\"");
  LB_ASSIGN(const BlobRef config_ref, parse_descriptor(*config, what));
  LB_ASSIGN(const std::string own_type, string_member(document, "mediaType", what));
  const bool known = is_config(config_ref.media_type) ||
                     (own_type == kDockerManifest && is_old_docker_config(config_ref.media_type));
  if (!known) {
    return fail(ENOTSUP, what, ": its config is of type \"", printable(config_ref.media_type),
                "\": this is an artifact, not a container image");
  }
  ManifestDocument manifest;
  manifest.config = config_ref.digest;
  manifest.config_size_bytes = config_ref.size_bytes;
  const Json& layers = document["layers"];
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
  LB_ASSIGN(image.platform.variant, string_member(document, "variant", what));
  image.platform = normalized(std::move(image.platform));
  if (const Json* const run = find_member(document, "config"); run != nullptr) {
    LB_ASSIGN(image.env, strings_member(*run, "Env", what));
    LB_ASSIGN(image.entrypoint, words_member(*run, "Entrypoint", what));
    LB_ASSIGN(image.cmd, words_member(*run, "Cmd", what));
    LB_ASSIGN(image.user, string_member(*run, "User", what));
    LB_ASSIGN(image.working_dir, string_member(*run, "WorkingDir", what));
    LB_ASSIGN(image.volumes, names_member(*run, "Volumes", what));
    LB_ASSIGN(image.exposed_ports, names_member(*run, "ExposedPorts", what));
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
