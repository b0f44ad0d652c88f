#include "oci-mount/base/file_lock.h"

#include <sys/file.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "oci-mount/base/interrupt.h"
#include "oci-mount/base/log.h"

namespace layerboot {

namespace {

constexpr useconds_t kInterval = 100'000;
constexpr std::chrono::milliseconds kShortPause{10};

}  // namespace

Result<void> wait_for_lock(int fd, std::string_view told) {
  // Not by waiting in flock(2): where the signals are blocked, nothing would end that.
  for (bool has_told = false; ::flock(fd, LOCK_EX | LOCK_NB) != 0; ::usleep(kInterval)) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail(errno);
    if (!std::exchange(has_told, true)) log_info(told);
    LB_TRY(check_interrupted());
  }
  return {};
}

bool is_same_file(const struct stat& one, const struct stat& other) {
  return one.st_ino == other.st_ino && one.st_dev == other.st_dev;
}

bool is_still_at(int fd, const std::filesystem::path& path) {
  struct stat held{};
  struct stat named{};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 && is_same_file(held, named);
}

bool take_lock_within(int fd, std::chrono::milliseconds bound) {
  const auto end = std::chrono::steady_clock::now() + bound;
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return false;
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kShortPause);
  }
  return true;
}

}  // namespace layerboot
