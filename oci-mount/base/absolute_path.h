// Where a path leads from the root, for who hands it on or keeps it.
#pragma once

#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot {

/// As std::filesystem::absolute(), which throws. EINVAL for an empty path; the host's error where the working
/// directory is gone.
inline Result<std::filesystem::path> absolute_path(const std::filesystem::path& path) {
  if (path.empty()) return fail(EINVAL, "an empty path: name a file or directory");
  std::error_code error;
  std::filesystem::path whole = std::filesystem::absolute(path, error);
  if (!error) return whole;
  return fail(error.value(), path.string(), ": the working directory can't be found (", error.message(),
              "): go to another, or give a whole path");
}

/// The same without "." and "..", which is not followed: a symlink before it counts as a directory.
inline Result<std::filesystem::path> normal_absolute_path(const std::filesystem::path& path) {
  LB_ASSIGN(const std::filesystem::path whole, absolute_path(path));
  return whole.lexically_normal();
}

}  // namespace layerboot
