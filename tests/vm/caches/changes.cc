#include "tests/vm/caches/changes.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace layerboot::caches {

namespace {

constexpr std::size_t kPageBytes = 4096;
alignas(kPageBytes) std::array<char, kPageBytes> page;

long change_map(int fd) {
  void* const memory = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return -1;
  volatile char* const byte = static_cast<char*>(memory) + 100;
  *byte = *byte;
  return ::msync(memory, kPageBytes, MS_SYNC);
}

long change_open(int fd, Change change, off_t size) {
  switch (change) {
    case Change::kWrite:
    case Change::kSyncWrite:
    case Change::kDirectWrite:
      return ::pwrite(fd, page.data(), page.size(), 0);
    case Change::kTruncate:
      return ::ftruncate(fd, size + 1);
    case Change::kAllocate:
      return ::fallocate(fd, 0, size, kPageBytes);
    case Change::kPunchHole:
      return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, size & ~off_t{kPageBytes - 1},
                         kPageBytes);
    case Change::kCopyRange: {
      off_t from = 0;
      off_t to = size;
      return ::copy_file_range(fd, &from, fd, &to, kPageBytes, 0);
    }
    case Change::kMap:
      return change_map(fd);
    default:
      return 0;
  }
}

int flags_of(Change change) {
  switch (change) {
    case Change::kSyncWrite:
      return O_SYNC;
    case Change::kDirectWrite:
      return O_DIRECT;
    case Change::kOpenTruncating:
      return O_TRUNC;
    default:
      return 0;
  }
}

int change(Change change, const char* path) {
  if (change == Change::kChown) return ::chown(path, kOwner.uid, static_cast<gid_t>(-1)) == 0 ? 0 : errno;
  if (change == Change::kChownNothing) {
    return ::chown(path, static_cast<uid_t>(-1), static_cast<gid_t>(-1)) == 0 ? 0 : errno;
  }
  struct stat st{};
  if (::stat(path, &st) != 0) return errno;
  const int before = ::open(path, O_RDONLY | O_CLOEXEC);
  if (before < 0 || ::pread(before, page.data(), page.size(), 0) < 0) return errno;
  int fd = ::open(path, O_RDWR | O_CLOEXEC | flags_of(change));
  // A tmpfs has no direct I/O before Linux 6.6.
  if (fd < 0 && errno == EINVAL) fd = ::open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return errno;
  return change_open(fd, change, st.st_size) >= 0 ? 0 : errno;
}

}  // namespace

const char* name_of(Change change) {
  static constexpr std::array kNames = {
      "write",           "synchronous write", "direct write", "ftruncate", "O_TRUNC",      "fallocate",
      "punching a hole", "copy_file_range",   "a mapping",    "chown",     "chown(-1, -1)"};
  return kNames[static_cast<std::size_t>(change)];
}

int change_as(const Person& person, Change how, const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool is_them = ::setgroups(0, nullptr) == 0 &&
                         ::setresgid(person.gid, person.gid, person.gid) == 0 &&
                         ::setresuid(person.uid, person.uid, person.uid) == 0;
    ::_exit(is_them ? change(how, path.c_str()) : EDOM);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return EDOM;
  return WEXITSTATUS(status);
}

}  // namespace layerboot::caches
