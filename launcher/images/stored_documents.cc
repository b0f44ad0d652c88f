#include "launcher/images/stored_documents.h"

#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/content.h"
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

  void look_at(const store::ManifestDescriptor& entry) {
    if (!document(entry.digest, "its manifest")) return;
    const store::DirectoryContent content(store_ / "blobs", false);
    auto chosen = choose_manifest(content, {entry}, store::host_platform(), "it");
    if (!chosen && chosen.error().code == ENOTSUP) {
      if (auto other = choose_any_manifest(content, {entry}, "it")) chosen = std::move(other);
    }
    if (!chosen) {
      const bool refused = chosen.error().code == ENOTSUP || chosen.error().code == EINVAL;
      return say(refused ? ImageState::kUnusable : ImageState::kIncomplete, chosen.error().describe());
    }
    look_at_manifest(*chosen, chosen->digest == entry.digest ? "its manifest" : "the manifest in its index");
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
  /// Whoever opens it compares what names it, too.
  std::optional<std::string> document(const Digest& digest, std::uint64_t size_bytes, std::string_view what) {
    auto text = document(digest, what);
    if (!text || text->size() == size_bytes) return text;
    say(ImageState::kIncomplete, str_cat(what, " has not the size that what names it says"));
    return {};
  }

  void look_at_manifest(const store::ManifestDescriptor& entry, std::string_view what) {
    const auto text = document(entry.digest, entry.size_bytes, what);
    if (!text) return;
    const auto manifest = store::parse_manifest(*text, what);
    if (!manifest) {
      count_layers(*text);
      return say(ImageState::kUnusable, manifest.error().describe());
    }
    look_at_image(*manifest, entry.platform);
  }

  /// Of what is no image.
  void count_layers(const std::string& text) {
    const auto json = store::parse_json_object(text, store::kMaxManifestJsonBytes, store::kMaxJsonDepth, "");
    const Json* const layers = json ? find_member(*json, "layers") : nullptr;
    if (layers != nullptr && layers->is_array()) found_.layer_count = layers->size();
  }

  void look_at_image(const store::ManifestDocument& manifest, const std::optional<store::Platform>& said) {
    found_.layer_count = manifest.layers.size();
    for (const auto& layer : manifest.layers)
      found_.layers.push_back({layer.digest.text(), layer.size_bytes});
    found_.config_digest = manifest.config.text();
    const auto config_text = document(manifest.config, manifest.config_size_bytes, "its config");
    if (!config_text) return;
    const auto json =
        store::parse_json_object(*config_text, store::kMaxManifestJsonBytes, store::kMaxJsonDepth, "");
    if (json) found_.created = text_member(*json, "created");
    const auto config = store::parse_config(*config_text, "its config");
    if (!config) return say(ImageState::kUnusable, config.error().describe());
    found_.platform = store::platform_of_image(said, config->platform);
    for (const auto& layer : manifest.layers) {
      struct stat st{};
      const bool there = ::stat(blob_path(store_, layer.digest).c_str(), &st) == 0;
      if (there && static_cast<std::uint64_t>(st.st_size) == layer.size_bytes) continue;
      return say(ImageState::kIncomplete,
                 str_cat("layer ", layer.digest.text(), there ? " has not its size" : " is missing"));
    }
    store::Image image;
    image.config = *config;
    image.config.platform = found_.platform;
    const auto fits = store::check_config(image, manifest.layers.size(), {});
    if (!fits && fits.error().code == ENOTSUP) {
      found_.state = ImageState::kOtherPlatform;
    } else if (!fits) {
      say(ImageState::kUnusable, "its config has not a diff_id for each layer");
    }
  }

  const std::filesystem::path& store_;
  StoredDocuments& found_;
};

}  // namespace

std::filesystem::path blob_path(const std::filesystem::path& store, const Digest& digest) {
  return store / "blobs" / digest.algorithm_name() / digest.hex();
}

StoredDocuments follow_documents(const std::filesystem::path& store, const Digest& digest) {
  StoredDocuments found;
  BlobWalk(store, found).add_document(digest, 0);
  return found;
}

StoredDocuments read_documents(const std::filesystem::path& store, const store::ManifestDescriptor& entry) {
  StoredDocuments found = follow_documents(store, entry.digest);
  Judge(store, found).look_at(entry);
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
