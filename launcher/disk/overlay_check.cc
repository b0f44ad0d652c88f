#include "launcher/disk/overlay_check.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

// As QEMU's docs/interop/qcow2.txt has them, big-endian.
constexpr std::size_t kQcow2HeaderBytes = 80;
constexpr std::size_t kQcow2VersionAt = 4;
constexpr std::size_t kBackingOffsetAt = 8;
constexpr std::size_t kBackingBytesAt = 16;
constexpr std::size_t kEncryptionAt = 32;
constexpr std::size_t kIncompatibleAt = 72;
constexpr std::string_view kQcow2Magic = "QFI\xfb";
constexpr std::size_t kMaxBaseNameBytes = 1023;
constexpr std::uint64_t kExternalData = 1U << 2U;
/// Not closed in order, found damaged, compressed in another way, clusters in parts: all within the file.
constexpr std::uint64_t kHarmless = (1U << 0U) | (1U << 1U) | (1U << 3U) | (1U << 4U);

using Qcow2Header = std::array<unsigned char, kQcow2HeaderBytes>;

std::uint64_t number_at(const Qcow2Header& header, std::size_t at, std::size_t size_bytes) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < size_bytes; ++i) number = number << 8U | header[at + i];
  return number;
}

Result<void> read_at(int fd, std::uint64_t offset, void* into, std::size_t size_bytes) {
  const ssize_t got = ::pread(fd, into, size_bytes, static_cast<off_t>(offset));
  if (got < 0) return errno_error("read");
  return static_cast<std::size_t>(got) == size_bytes ? Result<void>() : fail(EINVAL, "it ends too soon");
}

Result<void> check_backing(int fd, const Qcow2Header& header, const std::string& base) {
  const std::uint64_t size_bytes = number_at(header, kBackingBytesAt, 4);
  const std::uint64_t offset = number_at(header, kBackingOffsetAt, 8);
  if (offset == 0) return fail(EPERM, "its header names no base");
  if (size_bytes > kMaxBaseNameBytes || offset > INT64_MAX - kMaxBaseNameBytes)
    return fail(EPERM, "its header names its base where no name is");
  std::string name(size_bytes, '\0');
  LB_TRY(read_at(fd, offset, name.data(), name.size()));
  if (name == base) return {};
  return fail(EPERM, "its header names another base, ", printable(name), ", than ", base);
}

Result<void> check_header(int fd, const fs::path& base) {
  Qcow2Header header{};
  LB_TRY(read_at(fd, 0, header.data(), header.size()));
  const std::uint64_t version = number_at(header, kQcow2VersionAt, 4);
  if (!std::string_view(reinterpret_cast<const char*>(header.data()), kQcow2Magic.size())
           .starts_with(kQcow2Magic) ||
      version < 2 || version > 3)
    return fail(EPERM, "it is no qcow2 any more");
  if (number_at(header, kEncryptionAt, 4) != 0) return fail(EPERM, "its header asks for a key");
  const std::uint64_t features = version == 2 ? 0 : number_at(header, kIncompatibleAt, 8);
  if ((features & kExternalData) != 0) return fail(EPERM, "its header names an external data file");
  if ((features & ~kHarmless) != 0) return fail(EPERM, "its header asks for what layerboot never uses");
  LB_ASSIGN(const fs::path whole_base, absolute_path(base));
  return check_backing(fd, header, whole_base.string());
}

/// There a lease is the server's to give, and refused by the same number while nobody writes.
bool is_servers(int fd) {
  struct statfs fs_stat{};
  if (::fstatfs(fd, &fs_stat) != 0) return true;
  const auto type = static_cast<std::uint32_t>(fs_stat.f_type);
  return type == NFS_SUPER_MAGIC || type == CIFS_SUPER_MAGIC || type == SMB2_SUPER_MAGIC;
}

/// By a lease, which the kernel gives to nobody while a descriptor for writing is about, one on its way
/// through a socket or a mapping too. It is let go at once.
bool has_writer(int fd) {
  // Whoever opens it for writing just now has the kernel send us a signal, which is SIGIO's death otherwise.
  if (::fcntl(fd, F_SETSIG, SIGURG) != 0) return false;
  if (::fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
    ::fcntl(fd, F_SETLEASE, F_UNLCK);
    return false;
  }
  return errno == EAGAIN && !is_servers(fd);
}

/// A QEMU that has ended may have left its last requests to the kernel, which holds the file for them.
bool keeps_writer(int fd) {
  using namespace std::chrono_literals;
  const auto until = std::chrono::steady_clock::now() + 1s;
  while (has_writer(fd)) {
    if (std::chrono::steady_clock::now() > until) return true;
    std::this_thread::sleep_for(20ms);
  }
  return false;
}

}  // namespace

Result<void> check_overlay(const fs::path& overlay, const fs::path& base) {
  LB_ASSIGN(const UniqueFd file, open_path(overlay, O_RDONLY | O_NONBLOCK));
  struct stat st{};
  if (::fstat(file.get(), &st) != 0) return errno_error(overlay.string());
  if (!S_ISREG(st.st_mode)) return fail(EPERM, overlay.string(), " is no regular file");
  if (keeps_writer(file.get())) {
    return fail(
        ETXTBSY, "the VM's disk ", overlay.string(), " is open for writing in another process, which could ",
        "change it under QEMU, and is not opened: end that process (fuser -v names it), and start again");
  }
  if (const auto sound = check_header(file.get(), base); !sound) {
    return fail(sound.error().code, "the VM's disk ", overlay.string(), " is not as layerboot made it (",
                sound.error().text, "), and is not opened: somebody has got at it, the guest by its QEMU or ",
                "another program; 'layerboot reset' throws away what the VM has written");
  }
  return {};
}

}  // namespace layerboot::launcher
