#include "oci-mount/base/host_room.h"

#include <sys/statvfs.h>

#include "oci-mount/base/progress.h"

namespace layerboot {

Result<void> check_host_room(int fd) {
  struct statvfs room{};
  if (::fstatvfs(fd, &room) != 0) return errno_error("how much room there is can't be told");
  const std::uint64_t free_bytes = std::uint64_t{room.f_bavail} * room.f_frsize;
  if (free_bytes >= kMinHostRoomBytes) return {};
  return fail(ENOSPC, "its file system has ", human_size(free_bytes), " left, and ",
              human_size(kMinHostRoomBytes), " are kept free: make room, or put the cache elsewhere");
}

}  // namespace layerboot
