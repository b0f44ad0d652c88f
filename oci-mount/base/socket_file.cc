#include "oci-mount/base/socket_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "oci-mount/base/file_lock.h"
#include "oci-mount/base/files.h"

namespace layerboot {

namespace {

constexpr std::chrono::milliseconds kPatience{2000};

}  // namespace

SocketNamesTurn::SocketNamesTurn(int directory) {
  if (take_lock_within(directory, kPatience)) locked_ = directory;
}

SocketNamesTurn::~SocketNamesTurn() {
  if (locked_ >= 0) ::flock(locked_, LOCK_UN);
}

Result<SocketFile> SocketFile::at(const std::filesystem::path& path) {
  const std::filesystem::path in = path.has_parent_path() ? path.parent_path() : ".";
  auto directory = open_path(in, O_RDONLY | O_DIRECTORY);
  if (!directory && directory.error().code == EACCES) directory = open_path(in, O_PATH | O_DIRECTORY);
  if (!directory) return std::unexpected(directory.error());
  return SocketFile{.directory = *std::move(directory), .name = path.filename(), .file = {}};
}

Result<void> SocketFile::hold() {
  LB_ASSIGN(file, open_at(directory.get(), name, O_PATH | O_NOFOLLOW));
  return {};
}

void SocketFile::remove() const {
  const SocketNamesTurn turn(directory.get());
  struct stat ours{};
  struct stat there{};
  if (::fstatat(file.get(), "", &ours, AT_EMPTY_PATH) != 0 ||
      ::fstatat(directory.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) {
    return;
  }
  if (is_same_file(ours, there)) ::unlinkat(directory.get(), name.c_str(), 0);
}

}  // namespace layerboot
