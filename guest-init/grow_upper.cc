#include "guest-init/grow_upper.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "guest-init/exit_codes.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"
#include "guest-init/guest_upper.h"

namespace guest_init {

namespace {

constexpr int kDeviceRetryMs = 50;
constexpr int kDeviceWaitMs = 5'000;
constexpr std::uint64_t kSectorBytes = 512;
// fs/ext4/ext4.h; the kernel has no header of it for programs.
constexpr unsigned long kExt4ResizeFs = _IOW('f', 16, std::uint64_t);

std::uint64_t device_bytes(dev_t device, int system) {
  const std::string text = read_text_at(system, "sys/dev/block/" + std::to_string(major(device)) + ":" +
                                                    std::to_string(minor(device)) + "/size");
  return std::strtoull(text.c_str(), nullptr, 10) * kSectorBytes;
}

std::uint64_t wait_for_device(dev_t device, std::uint64_t wanted_bytes, int system) {
  std::uint64_t present = 0;
  for (int waited_ms = 0; waited_ms < kDeviceWaitMs; waited_ms += kDeviceRetryMs) {
    present = device_bytes(device, system);
    if (present >= wanted_bytes) break;
    const timespec pause{0, kDeviceRetryMs * 1'000'000L};
    nanosleep(&pause, nullptr);
  }
  return present;
}

bool grow_ext4(int top, std::uint64_t wanted_bytes, std::uint64_t block_bytes, int system, std::string& why) {
  struct stat st{};
  if (fstat(top, &st) != 0) {
    why = std::strerror(errno);
    return false;
  }
  const std::uint64_t present = wait_for_device(st.st_dev, wanted_bytes, system);
  if (present == 0 || present < wanted_bytes) {
    why = "its disk has " + std::to_string(present) + " bytes";
    return false;
  }
  const std::uint64_t blocks = present / block_bytes;
  if (ioctl(top, kExt4ResizeFs, &blocks) == 0) return true;
  why = std::strerror(errno);
  return false;
}

}  // namespace

bool grow_file_system(int top, std::uint64_t wanted_bytes, int system, std::string& why) {
  struct statfs at{};
  if (fstatfs(top, &at) != 0) {
    why = std::strerror(errno);
    return false;
  }
  if (at.f_type == EXT4_SUPER_MAGIC)
    return grow_ext4(top, wanted_bytes, static_cast<std::uint64_t>(at.f_bsize), system, why);
  if (at.f_type != TMPFS_MAGIC) {
    why = "the guest keeps what it writes neither on an ext4 nor on a tmpfs";
    return false;
  }
  const std::string size = "size=" + std::to_string(wanted_bytes);
  if (mount(nullptr, kUpperMount, nullptr, MS_REMOUNT | MS_NOATIME, size.c_str()) == 0) return true;
  why = std::strerror(errno);
  return false;
}

void become_growth(std::uint64_t wanted_bytes, int system) {
  const Fd top(open(kUpperMount, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::string why = "this guest does not keep by itself what it writes";
  if (top && grow_file_system(top.get(), wanted_bytes, system, why)) _exit(0);
  const std::string message = "cannot make the guest's file system larger: " + why + "\n";
  [[maybe_unused]] const ssize_t told = write(STDERR_FILENO, message.data(), message.size());
  _exit(kNotStarted);
}

}  // namespace guest_init
