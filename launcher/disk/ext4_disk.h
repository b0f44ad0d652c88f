// Ext4Disk: an ext4 file system in a file, filled by way of libext2fs.
//
// mkfs.ext4 -d does the same, but makes each name by reading its directory from the beginning: 20,000 names
// in one take it half a minute, and 100,000 a quarter of an hour. Here a directory is written once, whole.
// Follows the kernel's Documentation/filesystems/ext4.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Used by one thread. What is half done when one goes is left as it is: the disk is of no use then.
class Ext4Disk {
 public:
  using Inode = std::uint32_t;
  static constexpr Inode kRoot = 2;

  struct Name {
    std::string name;
    Inode inode = 0;
    mode_t mode = 0;  // its type
  };

  /// A file system that mkfs.ext4 has just made.
  static Result<Ext4Disk> open(const std::filesystem::path& disk);
  Ext4Disk(Ext4Disk&&) noexcept;
  Ext4Disk& operator=(Ext4Disk&&) noexcept;
  ~Ext4Disk();

  /// A new inode in the neighbourhood of `parent`: owner, mode, times and device are `st`'s. It has one name.
  Result<Inode> add(const struct stat& st, Inode parent);
  /// Gives an inode that is there already (the root, lost+found) the owner, mode and times of `st`.
  Result<void> set_attributes(Inode inode, const struct stat& st);
  Result<void> set_xattr(Inode inode, const std::string& name, std::span<const std::byte> value);
  Result<void> set_link_count(Inode inode, std::uint64_t count);

  /// A file's content: what `fd` has no data for, and whole blocks of zeroes, become holes. `on_progress`
  /// gets the bytes of each piece, and ends it by an error.
  Result<void> write_file(Inode inode, int fd, std::uint64_t size_bytes,
                          const std::function<Result<void>(std::uint64_t)>& on_progress);
  Result<void> write_symlink(Inode inode, std::string_view target);
  /// All the names of a directory, without "." and "..". Sets its link count.
  Result<void> write_directory(Inode inode, Inode parent, std::span<const Name> names);

  /// The inode that mkfs.ext4 has called /lost+found.
  Result<Inode> lost_and_found() const;

  /// Writes what is not written yet. Call once, at the end.
  Result<void> close();

 private:
  struct FileSystem;
  explicit Ext4Disk(std::unique_ptr<FileSystem> fs);
  Result<void> write_range(void* file, int fd, std::uint64_t offset, std::uint64_t end,
                           const std::function<Result<void>(std::uint64_t)>& on_progress);
  Result<void> write_block_of_names(Inode inode, std::uint64_t number, std::vector<char>& block);

  std::unique_ptr<FileSystem> fs_;
};

}  // namespace layerboot::launcher
