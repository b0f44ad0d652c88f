// Which image each step of a `build --vm` has made: a file a step, by the digest of all that it was made
// from.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/store/digest.h"

namespace layerboot::launcher {

/// The digest of texts of any length, each for itself.
class StepKey {
 public:
  static Result<StepKey> begin(std::string_view base);

  void add(std::string_view text);
  /// Call once, last.
  [[nodiscard]] std::string finish();

 private:
  explicit StepKey(store::Hasher hasher) : hasher_(std::move(hasher)) {}

  store::Hasher hasher_;
};

class BuildCache {
 public:
  /// What is kept of images that the store has no more goes.
  static Result<BuildCache> open(const std::filesystem::path& directory, const std::filesystem::path& store);

  /// The digest of the image that the step has made; nothing where there is none, or the store does not have
  /// all of it.
  [[nodiscard]] std::optional<std::string> find(const std::string& key) const;
  Result<void> keep(const std::string& key, const std::string& digest) const;

 private:
  BuildCache(std::filesystem::path directory, std::filesystem::path store)
      : directory_(std::move(directory)), store_(std::move(store)) {}

  std::filesystem::path directory_;
  std::filesystem::path store_;
};

}  // namespace layerboot::launcher
