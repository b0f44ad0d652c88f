// What a document of the local store leads to, and whether it is an image that can be booted. The store is
// anybody's OCI layout: whatever lies there is read as far as it goes, and is no error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "oci-mount/store/digest.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::launcher {

enum class ImageState : std::uint8_t {
  kWhole,          // can be booted, if its blobs are what they are called
  kOtherPlatform,  // the same, by --platform
  kIncomplete,  // a document or blob is missing, or has not the size it should: fetched again it may be whole
  kUnusable     // an artifact, of a type that is not known
};

struct StoredLayer {
  std::string digest;            // of the blob
  std::uint64_t size_bytes = 0;  // as its manifest says

  bool operator==(const StoredLayer&) const = default;
};

struct StoredDocuments {
  std::set<std::string> blobs;  // digests of all that the first document leads to, itself included
  /// False when a document is damaged, or lies deeper in indexes than anything is read, so that there may be
  /// more than `blobs`.
  bool complete = true;
  ImageState state = ImageState::kWhole;
  std::string problem;  // why it can't be run, for people; foreign text in it
  std::size_t layer_count = 0;
  std::vector<StoredLayer> layers;  // lowest first; none of what is no image
  std::string config_digest;        // what Docker calls the image's ID; "" where it can't be told
  std::string created;              // as the config has it (RFC 3339), or ""
  store::Platform platform;
};

/// A blob's file in the store.
std::filesystem::path blob_path(const std::filesystem::path& store, const store::Digest& digest);

/// Follows the document `digest` to all that it leads to: `blobs` and `complete` of it.
StoredDocuments follow_documents(const std::filesystem::path& store, const store::Digest& digest);

/// The same of an entry of an index, with all the rest: an index is judged by the image in it that is for
/// this machine, or by the first where none is, in the words of those who would open it.
StoredDocuments read_documents(const std::filesystem::path& store, const store::ManifestDescriptor& entry);

/// The digests in a text that is no document of a known form: whatever looks like one.
std::set<std::string> digests_in(std::string_view text);

}  // namespace layerboot::launcher
