#include "oci-mount/base/inherited_descriptors.h"

#include <dirent.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "oci-mount/base/decimal.h"

namespace layerboot {

namespace {

std::vector<int>& noted() {
  static std::vector<int> descriptors;
  return descriptors;
}

}  // namespace

void note_inherited_descriptors() {
  DIR* const list = ::opendir("/proc/self/fd");
  if (list == nullptr) return;
  while (const dirent* entry = ::readdir(list)) {
    const auto fd = parse_whole<int>(entry->d_name);
    if (fd && *fd > STDERR_FILENO && *fd != ::dirfd(list)) noted().push_back(*fd);
  }
  ::closedir(list);
}

void close_inherited_descriptors() {
  for (const int fd : std::exchange(noted(), {})) ::close(fd);
}

}  // namespace layerboot
