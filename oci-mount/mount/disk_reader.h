// DiskReader: what lies on a guest's disk, read by a child in walls (disk_child.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/base/ext2fs_library.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/walled_child.h"
#include "oci-mount/mount/disk_messages.h"

namespace layerboot::mount {

/// What main() begins with in each program that reads guests' disks. In a child it does the child's work, and
/// gives the exit code to end with; else nothing. Without threads.
std::optional<int> run_as_disk_child(int argc, const char* const* argv);

/// Used by one thread. What the child says is taken for the guest's word: it is bounded, and nothing else.
class DiskReader {
 public:
  struct Name {
    ext2_ino_t inode = 0;
    unsigned type = 0;  // EXT2_FT_*
    std::string name;
  };

  /// EUCLEAN where the disk's journal has to be replayed first, or the file system is damaged; ENOTSUP in a
  /// program whose main() does not begin with run_as_disk_child().
  static Result<std::shared_ptr<DiskReader>> open(const std::filesystem::path& disk);

  Result<ext2_inode_large> inode(ext2_ino_t number);
  /// With "." and "..".
  Result<std::vector<Name>> names(ext2_ino_t number);
  Result<std::vector<std::pair<std::string, std::string>>> xattrs(ext2_ino_t number);
  Result<std::string> target(ext2_ino_t number);
  /// As pread(2) of a regular file.
  Result<std::size_t> read(ext2_ino_t number, std::uint64_t offset, std::span<std::byte> into);

 private:
  explicit DiskReader(WalledChild child) : child_(std::move(child)) {}
  /// The answer, which has `most` bytes at most.
  Result<std::vector<std::byte>> ask(const DiskRequest& request, std::uint64_t most,
                                     std::string_view more = {});
  Result<void> receive(std::span<std::byte> into);
  std::unexpected<Error> broken_down();
  std::unexpected<Error> fallen_silent();

  WalledChild child_;
  std::string gone_;  // how the child went, once it has
};

}  // namespace layerboot::mount
