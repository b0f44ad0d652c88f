// StagingDirectory: a directory that appears whole or not at all.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Owns a directory with a name of its own beside `target`, and removes it with all it holds on destruction.
/// It is locked as long, by which one that a killed process has left is told.
class StagingDirectory {
 public:
  /// Makes target's parents as needed. `mode` is of the directory: what is made in it may be of a private
  /// image.
  static Result<StagingDirectory> create(const std::filesystem::path& target, mode_t mode = 0700);

  /// Removes those that nobody owns any more, of this user: beside `target`, and made for it.
  static void remove_leftovers(const std::filesystem::path& target);
  /// The same of all targets in `directory`. Gives how many bytes they took.
  static std::uint64_t remove_leftovers_in(const std::filesystem::path& directory);

  StagingDirectory(StagingDirectory&& other) noexcept
      : path_(std::exchange(other.path_, {})),
        target_(std::move(other.target_)),
        lock_(std::move(other.lock_)) {}
  StagingDirectory& operator=(StagingDirectory&&) = delete;
  StagingDirectory(const StagingDirectory&) = delete;
  StagingDirectory& operator=(const StagingDirectory&) = delete;
  ~StagingDirectory();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  /// Makes `inner`, a directory inside, durable and gives it the target's name. When another process was
  /// faster, its result stays and ours goes.
  Result<void> commit(const std::filesystem::path& inner);

 private:
  StagingDirectory(std::filesystem::path path, std::filesystem::path target, UniqueFd lock)
      : path_(std::move(path)), target_(std::move(target)), lock_(std::move(lock)) {}

  std::filesystem::path path_;
  std::filesystem::path target_;
  UniqueFd lock_;
};

}  // namespace layerboot::launcher
