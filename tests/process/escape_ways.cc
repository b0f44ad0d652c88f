#include "tests/process/escape_ways.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <vector>

#include "oci-mount/base/str_cat.h"

namespace layerboot::test {

namespace {

constexpr int kMaxFd = 1024;

/// The one way to open that the daemon has, without any of the limits that it puts on it.
int open_anyhow(int dir_fd, const std::string& path, int flags, mode_t mode = 0) {
  open_how how{};
  how.flags = static_cast<__u64>(flags);
  how.mode = mode;
  return static_cast<int>(::syscall(SYS_openat2, dir_fd, path.c_str(), &how, sizeof(how)));
}

std::string self(int fd) { return str_cat("/proc/self/fd/", fd); }

/// What is open, but for where the caller wants to hear of us: that is there to be written to.
template <typename Use>
std::string for_each_fd(Use use) {
  for (int fd = 0; fd < kMaxFd; ++fd) {
    struct stat st{};
    if (fd == STDOUT_FILENO || fd == STDERR_FILENO || ::fstat(fd, &st) != 0) continue;
    if (std::string got = use(fd, st); !got.empty()) return str_cat("descriptor ", fd, ": ", got);
  }
  return "";
}

template <typename Use>
std::string for_each_directory(Use use) {
  return for_each_fd([&](int fd, const struct stat& st) { return S_ISDIR(st.st_mode) ? use(fd) : ""; });
}

unsigned long mount_of(int fd) {
  struct statx status{};
  return ::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) == 0 ? status.stx_mnt_id : 0;
}

/// The mount on which the daemon is to write: what it has open there for writing, or an upper's directories.
unsigned long written_mount() {
  for (int fd = 3; fd < kMaxFd; ++fd) {
    struct stat st{};
    if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) continue;
    if ((::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR && st.st_nlink > 0) return mount_of(fd);
  }
  return 0;
}

/// What is only to be read: files, and directories where they are open.
template <typename Use>
std::string for_each_read_only(Use use) {
  const unsigned long written = written_mount();
  return for_each_fd([&](int fd, const struct stat& st) -> std::string {
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return "";
    if (written != 0 && mount_of(fd) == written) return "";
    return use(fd, st);
  });
}

std::string open_again_for_writing() {
  return for_each_read_only([](int fd, const struct stat& st) -> std::string {
    if (!S_ISREG(st.st_mode)) return "";
    for (const int flags : {O_RDWR, O_WRONLY, O_WRONLY | O_APPEND}) {
      if (open_anyhow(AT_FDCWD, self(fd), flags) >= 0) return "opened again for writing";
    }
    return "";
  });
}

std::string make_in_read_directories() {
  return for_each_read_only([](int fd, const struct stat& st) -> std::string {
    if (!S_ISDIR(st.st_mode)) return "";
    for (const char* path : {"planted", "../planted", "../../planted"}) {
      if (open_anyhow(fd, path, O_WRONLY | O_CREAT, 04755) >= 0) return str_cat("made ", path);
      if (::mkdirat(fd, path, 0700) == 0) return str_cat("made directory ", path);
    }
    return "";
  });
}

std::string write_through_read_directories() {
  return for_each_directory([](int fd) -> std::string {
    for (const char* path : {"beside", "../beside", "../../beside"}) {
      if (open_anyhow(fd, path, O_WRONLY) >= 0) return str_cat("opened ", path, " for writing");
      if (::unlinkat(fd, path, 0) == 0) return str_cat("removed ", path);
      if (::renameat(fd, path, fd, "moved") == 0) return str_cat("renamed ", path);
    }
    return "";
  });
}

std::string change_attributes() {
  return for_each_read_only([](int fd, const struct stat& st) -> std::string {
    if (::fchmod(fd, st.st_mode & 07777) == 0) return "mode changed";
    if (::fchown(fd, st.st_uid, st.st_gid) == 0) return "owner changed";
    if (::fchmodat(AT_FDCWD, self(fd).c_str(), st.st_mode & 07777, 0) == 0) return "mode changed by path";
    if (::utimensat(AT_FDCWD, self(fd).c_str(), nullptr, 0) == 0) return "times changed";
    if (::fsetxattr(fd, "user.escape", "x", 1, 0) == 0) return "attribute set";
    if (::ftruncate(fd, st.st_size) == 0) return "truncated";
    return "";
  });
}

std::string link_into_upper() {
  return for_each_read_only([](int fd, const struct stat& st) -> std::string {
    if (!S_ISREG(st.st_mode)) return "";
    return for_each_directory([&](int directory) -> std::string {
      return ::linkat(AT_FDCWD, self(fd).c_str(), directory, "stolen", AT_SYMLINK_FOLLOW) == 0 ? "linked"
                                                                                               : "";
    });
  });
}

std::string walk_up() {
  return for_each_directory([](int fd) -> std::string {
    std::string up;
    for (int level = 0; level < 12; ++level, up += "../") {
      for (const char* path : {"etc/passwd", "proc/1/root", "usr/bin", "beside"}) {
        struct stat st{};
        if (::fstatat(fd, (up + path).c_str(), &st, 0) == 0) return up + path;
      }
    }
    return "";
  });
}

std::string see_host_paths() {
  for (const char* path :
       {"/etc/passwd", "/proc/1", "/proc/self/exe", "/proc/self/mem", "/proc/self/root/etc", "/proc/sys",
        "/dev", "/sys", "/tmp", "/run", "/usr", "/../etc"}) {
    struct stat st{};
    if (::fstatat(AT_FDCWD, path, &st, 0) == 0) return path;
  }
  return "";
}

std::string open_host_paths() {
  for (const char* path : {"/etc/passwd", "/proc/self/mem", "/proc/self/exe", "/etc", "/dev/null"}) {
    if (open_anyhow(AT_FDCWD, path, O_RDONLY) >= 0) return path;
  }
  return "";
}

/// What somebody types is not for us.
std::string read_standard_input() {
  char c = 0;
  return ::read(STDIN_FILENO, &c, 1) > 0 ? "there is something" : "";
}

std::string write_own_root() {
  if (::mkdirat(AT_FDCWD, "/new", 0700) == 0) return "a directory in the root";
  if (open_anyhow(AT_FDCWD, "/new", O_WRONLY | O_CREAT, 0600) >= 0) return "a file in the root";
  return "";
}

std::string make_device() {
  return for_each_directory([](int fd) -> std::string {
    if (::mknodat(fd, "device", S_IFCHR | 0666, makedev(1, 3)) != 0) return "";
    const int opened = open_anyhow(fd, "device", O_RDWR);
    ::unlinkat(fd, "device", 0);
    return opened >= 0 ? "a device was opened" : "";
  });
}

/// Only by what the ring itself refuses: seccomp does not see them.
constexpr std::array<unsigned char, 18> kRingOperations{
    IORING_OP_OPENAT,   IORING_OP_OPENAT2,  IORING_OP_SOCKET,       IORING_OP_CONNECT, IORING_OP_ACCEPT,
    IORING_OP_SENDMSG,  IORING_OP_UNLINKAT, IORING_OP_RENAMEAT,     IORING_OP_MKDIRAT, IORING_OP_LINKAT,
    IORING_OP_STATX,    IORING_OP_SPLICE,   IORING_OP_URING_CMD,    IORING_OP_CLOSE,   IORING_OP_FSETXATTR,
    IORING_OP_MSG_RING, IORING_OP_SETXATTR, IORING_OP_FILES_UPDATE,
};

struct RawRing {
  char* rings = nullptr;
  io_uring_sqe* entries = nullptr;
  io_uring_params layout{};

  template <typename T>
  T* at(unsigned offset) const {
    return reinterpret_cast<T*>(rings + offset);
  }
  /// -EAGAIN where the ring can't be used from here.
  int submit(int fd, unsigned char opcode) const {
    auto* const tail = at<std::atomic<unsigned>>(layout.sq_off.tail);
    const unsigned mask = *at<unsigned>(layout.sq_off.ring_mask);
    const unsigned slot = tail->load() & mask;
    entries[slot] = {};
    entries[slot].opcode = opcode;
    entries[slot].fd = -1;
    at<unsigned>(layout.sq_off.array)[slot] = slot;
    tail->fetch_add(1);
    const unsigned answer = at<std::atomic<unsigned>>(layout.cq_off.tail)->load();
    const long taken = ::syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0);
    if (taken != 1 || at<std::atomic<unsigned>>(layout.cq_off.tail)->load() == answer) return -EAGAIN;
    const unsigned cq_mask = *at<unsigned>(layout.cq_off.ring_mask);
    const int result = at<io_uring_cqe>(layout.cq_off.cqes)[answer & cq_mask].res;
    at<std::atomic<unsigned>>(layout.cq_off.head)->store(answer + 1);
    return result;
  }
};

/// Set before the sandbox: how the kernel lays a ring out.
io_uring_params ring_layout{};

std::string ask_rings() {
  int refused = 0;
  int rings = 0;
  const std::string got = for_each_fd([&](int fd, const struct stat&) -> std::string {
    constexpr std::size_t kMapBytes = 4096;
    // Files can be mapped from anywhere, rings from their three places.
    constexpr off_t kNoRingsOffset = 0x18000000;
    if (::mmap(nullptr, kMapBytes, PROT_READ, MAP_SHARED, fd, kNoRingsOffset) != MAP_FAILED) return "";
    RawRing ring;
    ring.layout = ring_layout;
    const std::size_t rings_bytes = ring_layout.cq_off.cqes + ring_layout.cq_entries * sizeof(io_uring_cqe);
    void* const entries = ::mmap(nullptr, kMapBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                                 static_cast<off_t>(IORING_OFF_SQES));
    if (entries == MAP_FAILED) return "";
    void* const both = ::mmap(nullptr, rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                              static_cast<off_t>(IORING_OFF_SQ_RING));
    if (both == MAP_FAILED) return "";
    ++rings;
    ring.entries = static_cast<io_uring_sqe*>(entries);
    ring.rings = static_cast<char*>(both);
    for (const auto opcode : kRingOperations) {
      const int result = ring.submit(fd, opcode);
      if (result == -EAGAIN) return "";
      if (result != -EACCES) return str_cat("operation ", int{opcode}, " of a ring gives ", result);
      ++refused;
    }
    return "";
  });
  if (got.empty() && rings > 0 && refused == 0) return "no ring could be asked: mend this test";
  return got;
}

constexpr std::array kWays{Way{"open again for writing", &open_again_for_writing},
                           Way{"make files beside", &make_in_read_directories},
                           Way{"write files beside", &write_through_read_directories},
                           Way{"change attributes", &change_attributes},
                           Way{"link into the upper", &link_into_upper},
                           Way{"walk up", &walk_up},
                           Way{"see the host's paths", &see_host_paths},
                           Way{"open the host's paths", &open_host_paths},
                           Way{"read standard input", &read_standard_input},
                           Way{"write the root", &write_own_root},
                           Way{"open a device", &make_device},
                           Way{"ask rings", &ask_rings}};

}  // namespace

void learn_ring_layout(unsigned entries) {
  ring_layout.flags = IORING_SETUP_CLAMP;
  const auto fd = static_cast<int>(::syscall(SYS_io_uring_setup, entries, &ring_layout));
  if (fd >= 0) ::close(fd);
}

std::span<const Way> ways_out() { return kWays; }

}  // namespace layerboot::test
