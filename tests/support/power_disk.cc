#include "tests/support/power_disk.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

namespace {

constexpr std::size_t kPieceBytes = 1U << 20;

struct Kind {
  std::string_view name;
  std::uint64_t size_bytes;       // the least that its mkfs makes
  std::vector<std::string> make;  // but for the file
  const char* options;
};
Kind kind_of(DiskFs type) {
  switch (type) {
    case DiskFs::kExt4:
      return {"ext4",
              64U << 20,
              {"mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=1,nodiscard"},
              "commit=600,noinit_itable"};
    case DiskFs::kXfs:
      return {"xfs", 96U << 20, {"mkfs.xfs", "--unsupported", "-q", "-f", "-l", "size=6m"}, "nouuid"};
    case DiskFs::kBtrfs:
      return {"btrfs", 128U << 20, {"mkfs.btrfs", "-q", "-f", "-m", "single"}, "commit=600"};
  }
  return {};
}

Result<void> run(std::vector<std::string> command) {
  std::vector<char*> arguments;
  for (auto& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return errno_error("fork");
  if (child == 0) {
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (::dup2(nowhere, STDOUT_FILENO) < 0 || ::dup2(nowhere, STDERR_FILENO) < 0) ::_exit(126);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return fail(ENOENT, "there is no ", command[0]);
  if (status != 0) return fail(EIO, command[0], " failed");
  return {};
}

/// Each piece of what the file holds.
Result<void> for_each_piece(int fd,
                            const std::function<Result<void>(std::uint64_t, std::span<std::byte>)>& use) {
  std::vector<std::byte> buffer(kPieceBytes);
  for (off_t at = ::lseek(fd, 0, SEEK_DATA); at >= 0; at = ::lseek(fd, at, SEEK_DATA)) {
    const off_t end = ::lseek(fd, at, SEEK_HOLE);
    while (at < end) {
      const auto length = std::min<std::size_t>(buffer.size(), static_cast<std::size_t>(end - at));
      const ssize_t got = ::pread(fd, buffer.data(), length, at);
      if (got <= 0) return errno_error("read of a disk");
      LB_TRY(use(static_cast<std::uint64_t>(at), std::span(buffer).first(static_cast<std::size_t>(got))));
      at += got;
    }
  }
  return errno == ENXIO ? Result<void>() : Result<void>(errno_error("lseek of a disk"));
}

/// A loop device that goes when it is no longer in use.
Result<UniqueFd> attach(const std::filesystem::path& file, std::string& device) {
  LB_ASSIGN(const UniqueFd backing, open_path(file, O_RDWR));
  LB_ASSIGN(const UniqueFd control, open_path("/dev/loop-control", O_RDWR));
  loop_config config{};
  config.fd = static_cast<__u32>(backing.get());
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  for (;;) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return errno_error("no free loop device");
    device = str_cat("/dev/loop", number);
    LB_ASSIGN(UniqueFd loop, open_path(device, O_RDWR));
    if (::ioctl(loop.get(), LOOP_CONFIGURE, &config) == 0) return loop;
    if (errno != EBUSY) return errno_error("cannot set up ", device);  // somebody else was quicker
  }
}

/// btrfs remembers where it has seen a file system, and does not look for it elsewhere.
void forget_btrfs_devices() {
  const UniqueFd control(::open("/dev/btrfs-control", O_RDWR | O_CLOEXEC));
  btrfs_ioctl_vol_args all{};
  if (control) ::ioctl(control.get(), BTRFS_IOC_FORGET_DEV, &all);
}

}  // namespace

std::string_view name_of(DiskFs type) { return kind_of(type).name; }

Result<void> make_disk(DiskFs type, const std::filesystem::path& file) {
  const Kind kind = kind_of(type);
  {
    LB_ASSIGN(const UniqueFd fd, open_path(file, O_RDWR | O_CREAT | O_TRUNC, 0600));
    if (::ftruncate(fd.get(), static_cast<off_t>(kind.size_bytes)) != 0) return errno_error("truncate");
  }
  auto command = kind.make;
  command.push_back(file.string());
  return run(std::move(command));
}

Result<void> copy_disk(const std::filesystem::path& from, const std::filesystem::path& to) {
  LB_ASSIGN(const UniqueFd in, open_path(from, O_RDONLY));
  LB_ASSIGN(const UniqueFd out, open_path(to, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  struct stat st{};
  if (::fstat(in.get(), &st) != 0 || ::ftruncate(out.get(), st.st_size) != 0) return errno_error("truncate");
  return for_each_piece(in.get(), [&](std::uint64_t at, std::span<std::byte> piece) {
    return write_all(out.get(), piece, at);
  });
}

Result<std::string> digest_of_disk(const std::filesystem::path& file) {
  LB_ASSIGN(const UniqueFd in, open_path(file, O_RDONLY));
  std::size_t digest = 0;
  LB_TRY(for_each_piece(in.get(), [&](std::uint64_t at, std::span<std::byte> piece) -> Result<void> {
    const std::string_view text(reinterpret_cast<const char*>(piece.data()), piece.size());
    digest = digest * 31 + std::hash<std::string_view>()(text) + at;
    return {};
  }));
  return str_cat(digest);
}

Result<MountedDisk> MountedDisk::mount(DiskFs type, const std::filesystem::path& file,
                                       const std::filesystem::path& at) {
  const Kind kind = kind_of(type);
  LB_TRY(make_directories(at));
  if (type == DiskFs::kBtrfs) forget_btrfs_devices();
  std::string device;
  LB_ASSIGN(const UniqueFd loop, attach(file, device));
  if (::mount(device.c_str(), at.c_str(), std::string(kind.name).c_str(), 0, kind.options) != 0) {
    return errno_error("cannot mount ", kind.name, " of ", file.string());
  }
  return MountedDisk(type, at);
}

MountedDisk::MountedDisk(MountedDisk&& other) noexcept
    : type_(other.type_), at_(std::exchange(other.at_, {})), commits_(other.commits_) {}

MountedDisk::~MountedDisk() {
  if (at_.empty()) return;
  // An io_uring of a process that has ended lets go of its files a moment later.
  for (unsigned tries = 0; tries < 100; ++tries) {
    if (::umount2(at_.c_str(), 0) == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::umount2(at_.c_str(), MNT_DETACH);
}

Result<void> MountedDisk::commit() {
  if (type_ == DiskFs::kBtrfs) {
    LB_ASSIGN(const UniqueFd top, open_path(at_, O_RDONLY | O_DIRECTORY));
    __u64 transaction = 0;
    if (::ioctl(top.get(), BTRFS_IOC_START_SYNC, &transaction) != 0) return errno_error("start of a commit");
    if (::ioctl(top.get(), BTRFS_IOC_WAIT_SYNC, &transaction) != 0) return errno_error("end of a commit");
    return {};
  }
  // ext4 and XFS have one log, so that what somebody syncs takes along all that came before it.
  LB_ASSIGN(const UniqueFd other, open_path(at_ / str_cat("commit", commits_++), O_WRONLY | O_CREAT, 0600));
  if (::fsync(other.get()) != 0) return errno_error("fsync");
  return {};
}

}  // namespace layerboot::test
