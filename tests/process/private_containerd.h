// A containerd of the test's own: its store, state and socket are in a directory of the test.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "tests/process/mount_support.h"

namespace layerboot::test {

/// Ended, and everything it mounted unmounted, with this object.
class PrivateContainerd {
 public:
  explicit PrivateContainerd(std::filesystem::path directory);
  ~PrivateContainerd();
  PrivateContainerd(const PrivateContainerd&) = delete;
  PrivateContainerd& operator=(const PrivateContainerd&) = delete;

  [[nodiscard]] bool works() const { return why_not_.empty(); }
  [[nodiscard]] const std::string& why_not() const { return why_not_; }

  /// Imports a tag of an OCI layout, without unpacking it; gives its name here. An Error says
  /// which command said what.
  Result<std::string> import(const std::filesystem::path& layout, const std::string& tag);
  /// The same, unpacked, with its overlayfs snapshot mounted: where.
  Result<std::filesystem::path> mount(const std::filesystem::path& layout, const std::string& tag);

  /// Makes it the containerd that this process's children find.
  void put_into_environment() const;
  Outcome ctr(const std::vector<std::string>& words) const;
  /// Where containerd keeps its blobs.
  [[nodiscard]] std::filesystem::path blobs() const;

 private:
  Result<std::string> import(const std::filesystem::path& layout, const std::string& tag,
                             const std::vector<std::string>& how);
  [[nodiscard]] std::vector<std::string> ctr_words(std::vector<std::string> words) const;
  /// Runs a program that is to succeed.
  [[nodiscard]] Result<void> succeed(const std::vector<std::string>& words) const;

  std::filesystem::path directory_;
  std::string why_not_;
  pid_t pid_ = -1;
  std::vector<std::filesystem::path> mounts_;
};

}  // namespace layerboot::test
