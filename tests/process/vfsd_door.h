// Door: a file system as a user of it sees it, by paths, whatever way leads there.
//
// One suite (vfsd_posix_suite.cc) runs through each: a fake guest of vfsd, and any directory (a mount, or the
// host's own file system, which says what is right).
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

#include "tests/support/fake_guest_fuse.h"

namespace layerboot::test {

/// Paths are relative to the door's root, without a leading slash; "" is the root. Every operation gives 0 or
/// an errno. No operation follows a symlink at the end of the path.
class Door {
 public:
  struct Stat {
    std::uint32_t mode = 0;
    std::uint32_t nlink = 0;
    std::uint32_t uid = 0;
    std::uint64_t ino = 0;
    std::uint64_t size_bytes = 0;
    std::int64_t mtime = 0;
  };

  virtual ~Door() = default;
  virtual int stat(const std::string& path, Stat& out) = 0;
  virtual int create(const std::string& path, std::uint32_t mode, bool exclusive) = 0;
  virtual int mkdir(const std::string& path, std::uint32_t mode) = 0;
  virtual int mkfifo(const std::string& path, std::uint32_t mode) = 0;
  virtual int symlink(const std::string& path, const std::string& target) = 0;
  virtual int readlink(const std::string& path, std::string& out) = 0;
  virtual int link(const std::string& path, const std::string& new_path) = 0;
  virtual int unlink(const std::string& path) = 0;
  virtual int rmdir(const std::string& path) = 0;
  virtual int rename(const std::string& path, const std::string& new_path, unsigned flags) = 0;
  virtual int list(const std::string& path, std::set<std::string>& out) = 0;  // without "." and ".."
  virtual int read(const std::string& path, std::uint64_t offset, std::size_t size, std::string& out) = 0;
  virtual int write(const std::string& path, std::uint64_t offset, const std::string& data) = 0;
  virtual int truncate(const std::string& path, std::uint64_t size_bytes) = 0;
  virtual int chmod(const std::string& path, std::uint32_t mode) = 0;
  virtual int set_mtime(const std::string& path, std::int64_t seconds) = 0;
  virtual int setxattr(const std::string& path, const std::string& name, const std::string& value) = 0;
  virtual int getxattr(const std::string& path, const std::string& name, std::string& out) = 0;
  virtual int removexattr(const std::string& path, const std::string& name) = 0;
  virtual int fallocate(const std::string& path, std::uint64_t offset, std::uint64_t length) = 0;
  virtual int fsync(const std::string& path) = 0;
};

/// Through system calls on a directory.
class DirectoryDoor final : public Door {
 public:
  explicit DirectoryDoor(std::filesystem::path root) : root_(std::move(root)) {}

  int stat(const std::string& path, Stat& out) override;
  int create(const std::string& path, std::uint32_t mode, bool exclusive) override;
  int mkdir(const std::string& path, std::uint32_t mode) override;
  int mkfifo(const std::string& path, std::uint32_t mode) override;
  int symlink(const std::string& path, const std::string& target) override;
  int readlink(const std::string& path, std::string& out) override;
  int link(const std::string& path, const std::string& new_path) override;
  int unlink(const std::string& path) override;
  int rmdir(const std::string& path) override;
  int rename(const std::string& path, const std::string& new_path, unsigned flags) override;
  int list(const std::string& path, std::set<std::string>& out) override;
  int read(const std::string& path, std::uint64_t offset, std::size_t size, std::string& out) override;
  int write(const std::string& path, std::uint64_t offset, const std::string& data) override;
  int truncate(const std::string& path, std::uint64_t size_bytes) override;
  int chmod(const std::string& path, std::uint32_t mode) override;
  int set_mtime(const std::string& path, std::int64_t seconds) override;
  int setxattr(const std::string& path, const std::string& name, const std::string& value) override;
  int getxattr(const std::string& path, const std::string& name, std::string& out) override;
  int removexattr(const std::string& path, const std::string& name) override;
  int fallocate(const std::string& path, std::uint64_t offset, std::uint64_t length) override;
  int fsync(const std::string& path) override;

 private:
  [[nodiscard]] std::string at(const std::string& path) const { return (root_ / path).string(); }
  std::filesystem::path root_;
};

/// Through FUSE requests of a fake guest, as its kernel would make them.
class GuestDoor final : public Door {
 public:
  explicit GuestDoor(FuseClient client) : client_(client) {}

  int stat(const std::string& path, Stat& out) override;
  int create(const std::string& path, std::uint32_t mode, bool exclusive) override;
  int mkdir(const std::string& path, std::uint32_t mode) override;
  int mkfifo(const std::string& path, std::uint32_t mode) override;
  int symlink(const std::string& path, const std::string& target) override;
  int readlink(const std::string& path, std::string& out) override;
  int link(const std::string& path, const std::string& new_path) override;
  int unlink(const std::string& path) override;
  int rmdir(const std::string& path) override;
  int rename(const std::string& path, const std::string& new_path, unsigned flags) override;
  int list(const std::string& path, std::set<std::string>& out) override;
  int read(const std::string& path, std::uint64_t offset, std::size_t size, std::string& out) override;
  int write(const std::string& path, std::uint64_t offset, const std::string& data) override;
  int truncate(const std::string& path, std::uint64_t size_bytes) override;
  int chmod(const std::string& path, std::uint32_t mode) override;
  int set_mtime(const std::string& path, std::int64_t seconds) override;
  int setxattr(const std::string& path, const std::string& name, const std::string& value) override;
  int getxattr(const std::string& path, const std::string& name, std::string& out) override;
  int removexattr(const std::string& path, const std::string& name) override;
  int fallocate(const std::string& path, std::uint64_t offset, std::uint64_t length) override;
  int fsync(const std::string& path) override;

 private:
  struct Place {
    std::uint64_t parent = 1;
    std::string name;
  };
  Result<std::uint64_t> node(const std::string& path);
  Result<Place> place(const std::string& path);
  template <typename Operation>
  int on_node(const std::string& path, Operation operation);
  template <typename Operation>
  int on_place(const std::string& path, Operation operation);

  FuseClient client_;
};

}  // namespace layerboot::test
