// The local store's index.json: which images there are, and the lock that changes to it need.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/store/digest.h"

namespace layerboot::launcher {

/// Held by whoever changes the store; waits for the one who does now. Ends with the process.
class StoreLock {
 public:
  /// Makes the store's directory if it is not there. `path` is the store.
  static Result<StoreLock> acquire(const std::filesystem::path& store);

 private:
  explicit StoreLock(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

struct StoredImage {
  std::string name;    // "docker.io/library/debian:12", or as it was given to the tool that put it in
  std::string digest;  // of its manifest or index
  std::uint64_t size_bytes = 0;  // of all its blobs that are there, each counted once
  std::size_t layer_count = 0;
  std::vector<std::string> blobs;  // digests of all that it leads to, sorted
};

/// What index.json names and every blob that it leads to. Blobs of other platforms that an image index names
/// and nobody fetched are no error.
class StoreContents {
 public:
  /// An empty store where there is no index.json. EBADMSG for a document that is none.
  static Result<StoreContents> read(const std::filesystem::path& store);

  [[nodiscard]] const std::vector<StoredImage>& images() const { return images_; }
  /// Digests ("sha256:…"), sorted, of every blob that an image in index.json leads to, named or not.
  [[nodiscard]] const std::vector<std::string>& reachable() const { return reachable_; }

 private:
  std::vector<StoredImage> images_;  // by name
  std::vector<std::string> reachable_;
};

/// Digests, sorted, of the manifest `digest`, which is a blob of the store, and of all that it leads to.
Result<std::vector<std::string>> blobs_of_manifest(const std::filesystem::path& store,
                                                   const store::Digest& digest);

/// A blob's file in the store.
std::filesystem::path blob_path(const std::filesystem::path& store, const store::Digest& digest);

/// Takes the images called `names` out of index.json, which is replaced whole. Gives how many there were.
/// REQUIRES: the lock is held.
Result<std::size_t> forget_images(const std::filesystem::path& store, const std::vector<std::string>& names);

}  // namespace layerboot::launcher
