// ScratchDirectory: a place for files that nobody is to see and that are gone at the end.
#pragma once

#include <filesystem>
#include <string_view>
#include <utility>

#include "oci-mount/base/result.h"

namespace layerboot::mount {

/// Owns a directory for the caller alone, removed with all in it on destruction. A process that is killed
/// leaves it.
class ScratchDirectory {
 public:
  /// `parent` exists; the directory is called ".PURPOSE-" and a random suffix.
  static Result<ScratchDirectory> make_in(const std::filesystem::path& parent, std::string_view purpose);
  ScratchDirectory(ScratchDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::filesystem::path path) : path_(std::move(path)) {}

  std::filesystem::path path_;
};

}  // namespace layerboot::mount
