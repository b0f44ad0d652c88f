#include "launcher/images/stored_documents.h"

#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/json_document.h"
#include "oci-mount/store/manifest_choice.h"

namespace layerboot::launcher {

namespace {

using store::Digest;
using store::find_member;
using store::Json;
using store::text_member;
using namespace std::string_view_literals;

constexpr std::string_view kManifests = "manifests";

/// Every blob that a document leads to, whatever kind of document it is. Goes as deep as open_image() does,
/// and says that there is more where something lies deeper.
class BlobWalk {
 public:
  BlobWalk(const std::filesystem::path& store, StoredDocuments& found) : store_(store), found_(found) {}

  /// `nesting`: indexes above it, below index.json.
  void add_document(const Digest& digest, int nesting) {
    found_.blobs.insert(digest.text());
    // What was met as a blob, or in a text, may be a document all the same.
    if (!walked_.insert(digest.text()).second) return;
    const auto text = read_file(blob_path(store_, digest), store::kMaxManifestJsonBytes);
    if (!text) {
      // In an index: another platform's, never fetched.
      if (nesting == 0 || text.error().code != ENOENT) found_.complete = false;
      return;
    }
    const auto hash = digest_of(digest.algorithm(), as_bytes(*text));
    if (!hash || *hash != digest) found_.complete = false;
    const auto document =
        store::parse_json_object(*text, store::kMaxManifestJsonBytes, store::kMaxJsonDepth, "");
    if (!document || !add_members(*document, nesting)) found_.blobs.merge(digests_in(*text));
  }

 private:
  /// False when this is no document of a known form, or not all of it could be read.
  bool add_members(const Json& document, int nesting) {
    bool known = false;
    bool whole = true;
    for (const std::string_view key : {kManifests, "layers"sv, "blobs"sv, "fsLayers"sv}) {
      const Json* const list = find_member(document, key);
      if (list == nullptr) continue;
      known = true;
      whole &= list->is_array();
      if (!list->is_array()) continue;
      if (key == kManifests && nesting >= store::kMaxIndexNesting) {
        found_.complete = false;
        return false;
      }
      for (const Json& descriptor : *list) whole &= add_descriptor(descriptor, key, nesting);
    }
    if (const Json* const config = find_member(document, "config"); config != nullptr && known)
      whole &= add_descriptor(*config, "config", nesting);
    return known && whole;
  }
  bool add_descriptor(const Json& descriptor, std::string_view key, int nesting) {
    const auto digest = Digest::parse(text_member(descriptor, key == "fsLayers" ? "blobSum" : "digest"));
    if (!digest) return false;
    if (key == kManifests) {
      add_document(*digest, nesting + 1);
    } else {
      found_.blobs.insert(digest->text());
    }
    return true;
  }

  const std::filesystem::path& store_;
  StoredDocuments& found_;
  std::set<std::string> walked_;
};

/// Whether it can be booted, in the words of those who would read it.
class Judge {
 public:
  Judge(const std::filesystem::path& store, StoredDocuments& found) : store_(store), found_(found) {}

  void look_at(const Digest& digest, const std::string& media_type, std::string_view what, int nesting) {
    const auto text = document(digest, what);
    if (!text) return;
    const auto json =
        store::parse_json_object(*text, store::kMaxManifestJsonBytes, store::kMaxJsonDepth, what);
    if (!json) return say(ImageState::kUnusable, json.error().describe());
    const std::string type = media_type.empty() ? text_member(*json, "mediaType") : media_type;
    const bool is_index =
        find_member(*json, "manifests") != nullptr && find_member(*json, "layers") == nullptr;
    if (is_index) return look_at_index(*text, what, nesting);
    const auto manifest = store::parse_manifest(*text, what);
    if (!manifest) {
      look_at_artifact(*json);
      return say(ImageState::kUnusable, manifest.error().describe());
    }
    if (!type.empty() && type.find("manifest") == std::string::npos)
      return say(ImageState::kUnusable,
                 str_cat(what, ": is of type ", type, ", which is no container image"));
    look_at_manifest(*manifest);
  }

 private:
  void say(ImageState state, std::string problem) {
    found_.state = state;
    found_.problem = std::move(problem);
  }

  std::optional<std::string> document(const Digest& digest, std::string_view what) {
    auto text = read_file(blob_path(store_, digest), store::kMaxManifestJsonBytes);
    if (!text) {
      say(ImageState::kIncomplete,
          str_cat(what, text.error().code == ENOENT ? std::string(" is missing")
                                                    : str_cat(" can't be read: ", text.error().describe())));
      return {};
    }
    const auto hash = digest_of(digest.algorithm(), as_bytes(*text));
    if (hash && *hash == digest) return std::move(*text);
    say(ImageState::kIncomplete, str_cat(what, " is damaged"));
    return {};
  }

  void look_at_index(const std::string& text, std::string_view what, int nesting) {
    const auto index = store::parse_index(text, what);
    if (!index) return say(ImageState::kUnusable, index.error().describe());
    if (nesting >= store::kMaxIndexNesting)
      return say(ImageState::kUnusable,
                 str_cat("its indexes are nested deeper than the limit of ", store::kMaxIndexNesting));
    for (const auto& entry : index->manifests) {
      if (!store::fits_host(entry)) continue;
      return look_at(entry.digest, {}, "the manifest in its index", nesting + 1);
    }
    say(ImageState::kUnusable, str_cat("it has nothing for linux/", store::host_architecture()));
  }

  void look_at_artifact(const Json& json) {
    const Json* const layers = find_member(json, "layers");
    if (layers != nullptr && layers->is_array()) found_.layer_count = layers->size();
  }

  void look_at_manifest(const store::ManifestDocument& manifest) {
    found_.layer_count = manifest.layers.size();
    for (const auto& layer : manifest.layers)
      found_.layers.push_back({layer.digest.text(), layer.size_bytes});
    found_.config_digest = manifest.config.text();
    const auto config_text = document(manifest.config, "its config");
    if (!config_text) return;
    const auto json =
        store::parse_json_object(*config_text, store::kMaxManifestJsonBytes, store::kMaxJsonDepth, "");
    if (json) found_.created = text_member(*json, "created");
    const auto config = store::parse_config(*config_text, "its config");
    if (!config) return say(ImageState::kUnusable, config.error().describe());
    found_.platform = config->platform;
    for (const auto& layer : manifest.layers) {
      struct stat st{};
      const bool there = ::stat(blob_path(store_, layer.digest).c_str(), &st) == 0;
      if (there && static_cast<std::uint64_t>(st.st_size) == layer.size_bytes) continue;
      return say(ImageState::kIncomplete,
                 str_cat("layer ", layer.digest.text(), there ? " has not its size" : " is missing"));
    }
    store::Image image;
    image.config = *config;
    const auto fits = store::check_config(image, manifest.layers.size(), store::host_platform());
    if (!fits && fits.error().code == ENOTSUP) {
      return say(ImageState::kUnusable,
                 str_cat("it is for ", config->platform.os, "/", config->platform.architecture));
    }
    if (!fits) say(ImageState::kUnusable, "its config has not a diff_id for each layer");
  }

  const std::filesystem::path& store_;
  StoredDocuments& found_;
};

}  // namespace

std::filesystem::path blob_path(const std::filesystem::path& store, const Digest& digest) {
  return store / "blobs" / digest.algorithm_name() / digest.hex();
}

StoredDocuments read_documents(const std::filesystem::path& store, const Digest& digest,
                               const std::string& media_type) {
  StoredDocuments found;
  BlobWalk(store, found).add_document(digest, 0);
  Judge(store, found).look_at(digest, media_type, "its manifest", 0);
  // Without this machine's manifest nobody knows which of the blobs were its.
  if (found.state == ImageState::kIncomplete && found.layer_count == 0) found.complete = false;
  return found;
}

std::set<std::string> digests_in(std::string_view text) {
  constexpr std::size_t kLongestDigest = 7 + 128;
  std::set<std::string> digests;
  for (const std::string_view algorithm : {"sha256:", "sha512:"}) {
    for (auto at = text.find(algorithm); at != std::string_view::npos; at = text.find(algorithm, at + 1)) {
      auto candidate = text.substr(at, kLongestDigest);
      const auto end = candidate.find_first_not_of("0123456789abcdef", algorithm.size());
      if (const auto digest = Digest::parse(candidate.substr(0, end))) digests.insert(digest->text());
    }
  }
  return digests;
}

}  // namespace layerboot::launcher
