// The local store's index.json: which images there are, and the lock that changes to it need.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/images/stored_documents.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

/// Held by whoever changes the store; waits for the one who does now. Ends with the process.
class StoreLock {
 public:
  /// Makes the store's directory if it is not there. `path` is the store.
  /// EINTR when interrupted while another holds it.
  static Result<StoreLock> acquire(const std::filesystem::path& store);

 private:
  explicit StoreLock(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

/// An entry of index.json. All but `digest` is as somebody wrote it, and may hold anything.
struct IndexEntry {
  std::string
      name;  // "docker.io/library/debian:12", or as it was given to the tool that put it in; may be ""
  std::string digest;  // of its manifest or index
  std::string media_type;
  /// What the registry has under that name, of an image that layerboot pulled: the digest of its manifest or,
  /// of several platforms, its index. It may differ from `digest`, as skopeo converts Docker's manifests.
  std::string registry_digest;
  std::string source;  // from where it can be fetched again, as skopeo writes it: "docker://…@sha256:…"
  std::string former_name{};  // of one without a name: what it was called before another image took that
  std::size_t number = 0;     // its place in index.json, from 0
  /// It as whoever opens the image reads it, or why that is refused; of one that index.json has.
  Result<store::ManifestDescriptor> descriptor{};
};

/// Its name; without one its digest; without that "@N". Each is what `rmi` takes. As somebody wrote it.
std::string called(const IndexEntry& entry);

struct StoredImage : IndexEntry {
  std::uint64_t size_bytes = 0;  // of all its blobs that are there, each counted once
  ImageState state = ImageState::kWhole;
  std::string problem;   // why it can't be run
  bool complete = true;  // false: it may lead to more than `blobs`
  std::size_t layer_count = 0;
  std::vector<StoredLayer> layers;  // lowest first
  std::string config_digest;
  std::string created;
  store::Platform platform;
  std::vector<std::string> blobs;  // digests of all that it leads to, sorted
};

/// Whether it was called so before another image took that name.
[[nodiscard]] bool had_one_of(const IndexEntry& entry, const std::vector<std::string>& names);

/// index.json's entries in its order; none where there is no index.json. EBADMSG or EINVAL for a document
/// that is none, with what to do.
Result<std::vector<IndexEntry>> read_entries(const std::filesystem::path& store);

/// Follows the entry to all that it leads to. Never an error: what is wrong with it is in the result.
StoredImage look_at_image(const std::filesystem::path& store, const IndexEntry& entry);

struct IncompleteImage {
  std::string name;     // called()
  std::string problem;  // as StoredImage's; may be empty
};

/// What index.json names and every blob that it leads to. Blobs of other platforms that an image index names
/// and nobody fetched are no error; nor is an entry that is no image, or not whole.
class StoreContents {
 public:
  /// As read_entries().
  static Result<StoreContents> read(const std::filesystem::path& store);

  /// By name; those without one first.
  [[nodiscard]] const std::vector<StoredImage>& images() const { return images_; }
  /// Digests ("sha256:…"), sorted, of every blob that an image in index.json leads to, named or not.
  [[nodiscard]] const std::vector<std::string>& reachable() const { return reachable_; }
  /// Images that may lead to more than that, as a document of theirs is damaged.
  [[nodiscard]] std::vector<IncompleteImage> incomplete() const;

 private:
  std::vector<StoredImage> images_;
  std::vector<std::string> reachable_;
};

/// Takes the entries that `goes` chooses out of index.json, which is replaced whole. Gives how many there
/// were. REQUIRES: the lock is held.
Result<std::size_t> forget_entries(const std::filesystem::path& store,
                                   const std::function<bool(const IndexEntry&)>& goes);
/// Those called `names`.
Result<std::size_t> forget_images(const std::filesystem::path& store, const std::vector<std::string>& names);

/// Writes `descriptor` into index.json as the image `entry.name`; makes the layout where there is none.
/// Another image that had the name stays without one: a VM may have been made from it, whose record tells the
/// name alone. An empty name is none: the image goes by its digest. Of `entry`, name, registry_digest and
/// source are written. REQUIRES: the lock is held, and the blobs are there.
Result<void> put_entry(const std::filesystem::path& store, store::Json descriptor, const IndexEntry& entry);

/// The descriptor of the first entry that `wanted` chooses, as it is in index.json; ENOENT if none.
Result<store::Json> find_descriptor(const std::filesystem::path& store,
                                    const std::function<bool(const IndexEntry&)>& wanted);
/// Of this very entry.
Result<store::Json> find_descriptor(const std::filesystem::path& store, const IndexEntry& entry);
/// Two of one name and one image.
[[nodiscard]] bool is_same(const IndexEntry& a, const IndexEntry& b);

}  // namespace layerboot::launcher
