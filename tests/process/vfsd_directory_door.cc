#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "oci-mount/base/unique_fd.h"
#include "tests/process/vfsd_door.h"

namespace layerboot::test {

namespace {

int outcome(long result) { return result < 0 ? errno : 0; }

UniqueFd open_nofollow(const std::string& path, int flags) {
  return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW));
}

}  // namespace

int DirectoryDoor::stat(const std::string& path, Stat& out) {
  struct stat status{};
  if (::lstat(at(path).c_str(), &status) < 0) return errno;
  out = {status.st_mode, static_cast<std::uint32_t>(status.st_nlink), status.st_uid,
         status.st_ino,  static_cast<std::uint64_t>(status.st_size),  status.st_mtim.tv_sec};
  return 0;
}

int DirectoryDoor::create(const std::string& path, std::uint32_t mode, bool exclusive) {
  const UniqueFd fd(::open(at(path).c_str(), O_CREAT | O_RDWR | O_CLOEXEC | (exclusive ? O_EXCL : 0), mode));
  return fd ? 0 : errno;
}

int DirectoryDoor::mkdir(const std::string& path, std::uint32_t mode) {
  return outcome(::mkdir(at(path).c_str(), mode));
}

int DirectoryDoor::mkfifo(const std::string& path, std::uint32_t mode) {
  return outcome(::mkfifo(at(path).c_str(), mode));
}

int DirectoryDoor::symlink(const std::string& path, const std::string& target) {
  return outcome(::symlink(target.c_str(), at(path).c_str()));
}

int DirectoryDoor::readlink(const std::string& path, std::string& out) {
  std::array<char, 4096> target{};
  const ssize_t count = ::readlink(at(path).c_str(), target.data(), target.size());
  if (count < 0) return errno;
  out.assign(target.data(), static_cast<std::size_t>(count));
  return 0;
}

int DirectoryDoor::link(const std::string& path, const std::string& new_path) {
  return outcome(::link(at(path).c_str(), at(new_path).c_str()));
}

int DirectoryDoor::unlink(const std::string& path) { return outcome(::unlink(at(path).c_str())); }

int DirectoryDoor::rmdir(const std::string& path) { return outcome(::rmdir(at(path).c_str())); }

int DirectoryDoor::rename(const std::string& path, const std::string& new_path, unsigned flags) {
  return outcome(::renameat2(AT_FDCWD, at(path).c_str(), AT_FDCWD, at(new_path).c_str(), flags));
}

int DirectoryDoor::list(const std::string& path, std::set<std::string>& out) {
  DIR* directory = ::opendir(at(path).c_str());
  if (directory == nullptr) return errno;
  out.clear();
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") out.insert(name);
  }
  ::closedir(directory);
  return 0;
}

int DirectoryDoor::read(const std::string& path, std::uint64_t offset, std::size_t size, std::string& out) {
  const UniqueFd fd = open_nofollow(at(path), O_RDONLY);
  if (!fd) return errno;
  out.resize(size);
  const ssize_t count = ::pread(fd.get(), out.data(), size, static_cast<off_t>(offset));
  if (count < 0) return errno;
  out.resize(static_cast<std::size_t>(count));
  return 0;
}

int DirectoryDoor::write(const std::string& path, std::uint64_t offset, const std::string& data) {
  const UniqueFd fd = open_nofollow(at(path), O_WRONLY);
  if (!fd) return errno;
  return outcome(::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset)));
}

int DirectoryDoor::truncate(const std::string& path, std::uint64_t size_bytes) {
  return outcome(::truncate(at(path).c_str(), static_cast<off_t>(size_bytes)));
}

int DirectoryDoor::chmod(const std::string& path, std::uint32_t mode) {
  return outcome(::chmod(at(path).c_str(), mode));
}

int DirectoryDoor::set_mtime(const std::string& path, std::int64_t seconds) {
  const std::array<timespec, 2> times{timespec{0, UTIME_OMIT}, timespec{seconds, 0}};
  return outcome(::utimensat(AT_FDCWD, at(path).c_str(), times.data(), AT_SYMLINK_NOFOLLOW));
}

int DirectoryDoor::setxattr(const std::string& path, const std::string& name, const std::string& value) {
  return outcome(::lsetxattr(at(path).c_str(), name.c_str(), value.data(), value.size(), 0));
}

int DirectoryDoor::getxattr(const std::string& path, const std::string& name, std::string& out) {
  out.resize(65536);
  const ssize_t count = ::lgetxattr(at(path).c_str(), name.c_str(), out.data(), out.size());
  if (count < 0) return errno;
  out.resize(static_cast<std::size_t>(count));
  return 0;
}

int DirectoryDoor::removexattr(const std::string& path, const std::string& name) {
  return outcome(::lremovexattr(at(path).c_str(), name.c_str()));
}

int DirectoryDoor::fallocate(const std::string& path, std::uint64_t offset, std::uint64_t length) {
  const UniqueFd fd = open_nofollow(at(path), O_WRONLY);
  if (!fd) return errno;
  return outcome(::fallocate(fd.get(), 0, static_cast<off_t>(offset), static_cast<off_t>(length)));
}

int DirectoryDoor::fsync(const std::string& path) {
  const UniqueFd fd = open_nofollow(at(path), O_RDONLY);
  return fd ? outcome(::fsync(fd.get())) : errno;
}

}  // namespace layerboot::test
