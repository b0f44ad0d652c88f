#include "oci-mount/base/inherited_descriptors.h"

#include <dirent.h>
#include <unistd.h>

#include <utility>

#include "oci-mount/base/decimal.h"

namespace layerboot {

namespace {

std::vector<int>& noted() {
  static std::vector<int> descriptors;
  return descriptors;
}

}  // namespace

Result<std::vector<int>> open_descriptors() {
  DIR* const list = ::opendir("/proc/self/fd");
  if (list == nullptr) return errno_error("/proc/self/fd");
  std::vector<int> open;
  while (const dirent* entry = ::readdir(list)) {
    const auto fd = parse_whole<int>(entry->d_name);
    if (fd && *fd != ::dirfd(list)) open.push_back(*fd);
  }
  ::closedir(list);
  return open;
}

void note_inherited_descriptors() {
  noted() = open_descriptors().value_or(std::vector<int>());
  std::erase_if(noted(), [](int fd) { return fd <= STDERR_FILENO; });
}

void close_inherited_descriptors() {
  for (const int fd : std::exchange(noted(), {})) ::close(fd);
}

}  // namespace layerboot
