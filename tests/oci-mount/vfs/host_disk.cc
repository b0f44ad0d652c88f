#include "tests/oci-mount/vfs/host_disk.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>
#include <vector>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

namespace {

constexpr std::uint64_t kDiskBytes = 1U << 30;
constexpr std::uint64_t kTmpfsInodeBytes = 1024;
// FIFREEZE and FITHAW of linux/fs.h, which Debian 12's sys/mount.h does not go with.
constexpr unsigned long kFreeze = _IOWR('X', 119, int);
constexpr unsigned long kThaw = _IOWR('X', 120, int);

/// By the shell, since its messages go to the test's log. Paths are a TempDir's.
bool run(const std::string& command) { return std::system(command.c_str()) == 0; }

std::uint64_t btrfs_taken(int fd) {
  constexpr std::size_t kMostSpaces = 32;
  std::vector<std::uint64_t> memory(
      (sizeof(btrfs_ioctl_space_args) + kMostSpaces * sizeof(btrfs_ioctl_space_info)) /
      sizeof(std::uint64_t));
  auto& answer = *reinterpret_cast<btrfs_ioctl_space_args*>(memory.data());
  answer.space_slots = kMostSpaces;
  if (::ioctl(fd, BTRFS_IOC_SPACE_INFO, &answer) != 0) return 0;
  std::uint64_t taken = 0;
  for (std::size_t i = 0; i < answer.total_spaces; ++i) {
    const auto& space = answer.spaces[i];
    if ((space.flags & BTRFS_SPACE_INFO_GLOBAL_RSV) != 0) continue;
    taken += space.used_bytes * ((space.flags & BTRFS_BLOCK_GROUP_DUP) != 0 ? 2 : 1);
  }
  return taken;
}

const char* options_of(std::string_view kind) {
  if (kind == "ext4_1k") return " -q -F -b 1024 ";
  if (kind == "ext4_clusters") return " -q -F -O bigalloc -C 65536 ";
  return kind == "ext4" ? " -q -F " : " -q -f ";
}

}  // namespace

HostDisk::HostDisk(const std::string& kind) : kind_(kind) {
  std::filesystem::create_directory(path());
  if (::geteuid() != 0) {
    why_not_ = "mounting needs root";
    return;
  }
  if (kind == "tmpfs") {
    mounted_ = ::mount("none", path().c_str(), "tmpfs", 0, "size=1g,mode=0755") == 0;
    if (!mounted_) why_not_ = str_cat("no right to mount: ", std::strerror(errno));
    return;
  }
  // In memory where there is some: these tests sync often.
  std::error_code ignored;
  const bool in_memory = std::filesystem::space("/dev/shm", ignored).available > kDiskBytes && !ignored;
  if (in_memory) image_ = str_cat("/dev/shm/", directory_.path().filename().string());
  if (!in_memory) image_ = (directory_ / "disk").string();
  const std::string& image = image_.native();
  std::ofstream(image).flush();
  std::filesystem::resize_file(image, kDiskBytes);
  const std::string tool = str_cat("mkfs.", kind.substr(0, kind.find('_')));
  const char* const options = options_of(kind);
  if (!run(str_cat("command -v ", tool, " > /dev/null 2>&1"))) {
    why_not_ = str_cat("there is no ", tool);
  } else if (!run(str_cat(tool, options, image))) {
    why_not_ = str_cat(tool, " fails");
  } else if (!run(str_cat("mount -o loop ", image, " ", path().string()))) {
    why_not_ = str_cat("a loop device with ", kind, " can't be mounted");
  } else {
    mounted_ = true;
  }
}

HostDisk::~HostDisk() {
  if (mounted_ && ::umount(path().c_str()) != 0) std::perror("umount");
  std::error_code ignored;
  if (!image_.empty()) std::filesystem::remove(image_, ignored);
}

std::uint64_t HostDisk::taken_bytes() const {
  const UniqueFd fd(::open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Twice: what a first one frees is free with the next.
  if (::syncfs(fd.get()) != 0 || ::syncfs(fd.get()) != 0) return 0;
  // XFS frees what was unlinked in the background, which only a freeze waits for (fs/xfs/xfs_super.c:
  // xfs_fs_sync_fs, xfs_inodegc_stop).
  if (kind_ == "xfs" && (::ioctl(fd.get(), kFreeze, 0) != 0 || ::ioctl(fd.get(), kThaw, 0) != 0)) return 0;
  if (kind_ == "btrfs") return btrfs_taken(fd.get());
  return shown_as_taken();
}

std::uint64_t HostDisk::shown_as_taken() const {
  struct statvfs status{};
  if (::statvfs(path().c_str(), &status) != 0) return 0;
  std::uint64_t taken = (status.f_blocks - status.f_bfree) * status.f_frsize;
  if (kind_ == "tmpfs") taken += (status.f_files - status.f_ffree) * kTmpfsInodeBytes;
  return taken;
}

std::optional<std::uint64_t> HostDisk::taken_bytes_now() const {
  if (kind_ == "btrfs" || kind_ == "xfs") return std::nullopt;
  return shown_as_taken();
}

std::uint64_t HostDisk::own_bytes() const {
  if (kind_ == "btrfs") return 2U << 20;
  if (kind_ == "xfs") return 512U << 10;
  return 64U << 10;
}

}  // namespace layerboot::test
