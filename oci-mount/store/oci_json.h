// The three JSON documents of an OCI image, parsed out of untrusted bytes. Pure.
//
// Follows the OCI image spec v1.1 (image-index.md, manifest.md, config.md); the Docker schema 2 media
// types, which mean the same, are taken too, and the config types of old Docker. A document that could be
// read in two ways is refused: one with both `layers` and `manifests` (CVE-2021-41190), or with a key twice.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/platform.h"

namespace layerboot::store {

inline constexpr std::size_t kMaxIndexJsonBytes = 16U << 20U;
inline constexpr std::size_t kMaxManifestJsonBytes = 8U << 20U;  // config documents too
inline constexpr int kMaxJsonDepth = 32;
inline constexpr std::size_t kMaxLayers = 128;
inline constexpr std::size_t kMaxManifests = 65536;  // in one index

enum class Compression : std::uint8_t { kNone = 0, kGzip = 1, kZstd = 2, kXz = 3, kBzip2 = 4 };
[[nodiscard]] std::string_view compression_name(Compression compression);

enum class DocumentKind : std::uint8_t { kIndex, kManifest };

/// An entry of an index: a manifest, or a nested index.
struct ManifestDescriptor {
  DocumentKind kind = DocumentKind::kManifest;
  Digest digest;
  std::uint64_t size_bytes = 0;
  std::optional<Platform> platform;  // normalized
  bool is_attestation = false;       // by BuildKit's annotation, though its type is a manifest's
  std::string artifact_type;         // as its entry says; "" where that is a config's: a hint
  std::string ref_name;              // annotation org.opencontainers.image.ref.name; may be empty
  std::string full_name;  // io.containerd.image.name, by which that may be the tag alone; may be empty
};

struct IndexDocument {
  std::vector<ManifestDescriptor> manifests;
  /// Entries that are no images, or none that is read: the name, or "", and why.
  std::vector<std::pair<std::string, std::string>> others;
};

struct LayerDescriptor {
  std::string media_type;
  Compression compression = Compression::kNone;  // by the media type: a hint
  Digest digest;
  std::uint64_t size_bytes = 0;
};

struct ManifestDocument {
  Digest config;
  std::uint64_t config_size_bytes = 0;
  std::vector<LayerDescriptor> layers;  // lowest first
};

struct ImageConfig {
  Platform platform;  // normalized; of an opened Image what its index says goes before it
  std::vector<std::string> env;
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string user;
  std::string working_dir;
  std::string stop_signal;
  std::vector<std::string> volumes;        // paths
  std::vector<std::string> exposed_ports;  // "80/tcp", "53/udp", "80"
  std::vector<Digest> diff_ids;            // lowest first
};

/// `what` names the document in errors, which say what is wrong in it, and are EINVAL; ENOTSUP for a manifest
/// that is an artifact's or has layers which are not read. Entries of an index
/// that are neither manifest nor index (artifacts), or are broken, are left out: one bad entry is no reason
/// not to give the others.
Result<IndexDocument> parse_index(std::string_view text, std::string_view what);
/// One entry of an index; ENOTSUP for what is no image, in words that stand behind the entry's name.
Result<ManifestDescriptor> parse_index_entry(const nlohmann::json& json, std::string_view what);
Result<ManifestDocument> parse_manifest(std::string_view text, std::string_view what);
Result<ImageConfig> parse_config(std::string_view text, std::string_view what);

}  // namespace layerboot::store
