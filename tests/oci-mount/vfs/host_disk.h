// HostDisk: a file system of the host of a chosen kind, for one test: in a file on a loop device, or in
// memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "tests/support/temp_dir.h"

namespace layerboot::test {

class HostDisk {
 public:
  /// `kind`: ext4, xfs, btrfs or tmpfs, of 1 GiB; or ext4_1k, which has blocks of 1 KiB, as small ones do, or
  /// ext4_clusters, which allocates 64 KiB at once.
  /// Not mounted where this machine can't: why_not() says why.
  explicit HostDisk(const std::string& kind);
  ~HostDisk();
  HostDisk(const HostDisk&) = delete;
  HostDisk& operator=(const HostDisk&) = delete;

  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] const std::string& why_not() const { return why_not_; }
  [[nodiscard]] std::filesystem::path path() const { return directory_ / "mnt"; }

  /// What is taken of it, once all that waits to be written is. Of btrfs with every copy of its trees, which
  /// statfs(2) shows in steps of large chunks only; of tmpfs with what inodes, links and attributes are
  /// counted for, which statfs(2) shows as inodes of 1 KiB.
  [[nodiscard]] std::uint64_t taken_bytes() const;
  /// The same while others write, without a sync. Nothing of btrfs and XFS, which show then what they keep
  /// ahead, and not what stays taken.
  [[nodiscard]] std::optional<std::uint64_t> taken_bytes_now() const;
  /// What it may take for itself by having been used at all: chunks of inodes, trees rewritten.
  [[nodiscard]] std::uint64_t own_bytes() const;

 private:
  [[nodiscard]] std::uint64_t shown_as_taken() const;

  TempDir directory_;
  std::filesystem::path image_;
  std::string kind_;
  std::string why_not_;
  bool mounted_ = false;
};

}  // namespace layerboot::test
