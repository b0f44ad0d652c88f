#include "oci-mount/base/files.h"

#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <system_error>
#include <utility>

#include "oci-mount/base/bytes.h"

namespace layerboot {

namespace {

std::filesystem::path directory_of(const std::filesystem::path& path) {
  const auto clean = path.has_filename() ? path : path.parent_path();  // of one that ends with a slash
  return clean.parent_path().empty() ? std::filesystem::path(".") : clean.parent_path();
}

/// Some file systems, as FUSE's and 9p, know no fsync(2) of a directory.
Result<void> sync_names(int directory_fd, const std::filesystem::path& path) {
  if (::fsync(directory_fd) == 0 || errno == EINVAL || errno == ENOSYS) return {};
  return errno_error("fsync of the directory for ", path.string());
}

/// A name in the same directory that nothing else uses meanwhile.
std::string name_beside(const std::filesystem::path& path) {
  static std::atomic<unsigned> count = 0;
  return str_cat(path.filename().string(), '.', ::getpid(), '.',
                 count.fetch_add(1, std::memory_order_relaxed), ".new");
}

}  // namespace

Result<UniqueFd> open_at(int dir_fd, const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(::openat(dir_fd, path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return errno_error("cannot open ", path);
  return fd;
}

Result<UniqueFd> open_resolving(int dir_fd, const char* path, int flags, std::uint64_t resolve, mode_t mode) {
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = resolve;
  // Linux gives up on ".." below a directory where anything at all is mounted or renamed meanwhile (EAGAIN).
  constexpr int kTries = 64;
  UniqueFd fd;
  for (int i = 0; i < kTries && !fd; ++i) {
    fd = UniqueFd(static_cast<int>(::syscall(SYS_openat2, dir_fd, path, &how, sizeof(how))));
    if (!fd && errno != EAGAIN) break;
  }
  if (!fd) return fail(errno);
  return fd;
}

Result<UniqueFd> open_beneath(int dir_fd, const char* path, int flags, mode_t mode,
                              OtherMounts other_mounts) {
  const std::uint64_t no_mount = other_mounts == OtherMounts::kRefused ? RESOLVE_NO_XDEV : 0;
  return open_resolving(dir_fd, path, flags | O_NOFOLLOW,
                        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | no_mount, mode);
}

Result<UniqueFd> open_trusted(const std::filesystem::path& path) {
  // O_NONBLOCK: a fifo in its place must not hold us up.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno == ELOOP) return fail(ESTALE, path.string(), " is a symlink, which is not followed");
  if (!fd) return errno_error("cannot open ", path.string());
  struct stat st{};
  struct stat directory{};
  if (::fstat(fd.get(), &st) != 0 || ::stat(directory_of(path).c_str(), &directory) != 0)
    return errno_error("stat of ", path.string());
  const bool is_known = st.st_uid == ::geteuid() || st.st_uid == 0 || st.st_uid == directory.st_uid;
  if (!S_ISREG(st.st_mode) || !is_known || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return fail(ESTALE, path.string(), " could have been written by others");
  return fd;
}

std::string descriptor_path(int fd) { return str_cat("/proc/self/fd/", fd); }

Result<std::string> read_all(int fd, std::size_t max_bytes) {
  constexpr std::size_t kPiece = 64 * 1024;
  std::string text;
  for (;;) {
    const std::size_t have = text.size();
    text.resize(have + kPiece);
    const ssize_t got = ::read(fd, text.data() + have, kPiece);
    if (got < 0 && errno == EINTR) {
      text.resize(have);
      continue;
    }
    if (got < 0) return errno_error("read");
    text.resize(have + static_cast<std::size_t>(got));
    if (text.size() > max_bytes) return fail(E2BIG, "more than ", max_bytes, " bytes");
    if (got == 0) return text;
  }
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  LB_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY));
  auto text = read_all(fd.get(), max_bytes);
  if (!text) return while_doing(text.error(), path.string());
  return text;
}

Result<void> write_next(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> write_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno_error("write");
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return {};
}

Result<void> make_directories(const std::filesystem::path& path, mode_t mode) {
  if (path.empty() || path == path.root_path()) return {};
  if (::mkdir(path.c_str(), mode) == 0) return sync_directory(directory_of(path));
  if (errno == ENOENT) {
    LB_TRY(make_directories(path.parent_path(), mode));
    if (::mkdir(path.c_str(), mode) == 0) return sync_directory(directory_of(path));
  }
  struct stat st{};
  if (errno == EEXIST && ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) return {};
  return errno_error("cannot make directory ", path.string());
}

Result<void> make_private_directory(const std::filesystem::path& path) {
  LB_TRY(make_directories(path.parent_path()));
  return make_directories(path, 0700);
}

Result<void> check_own_directory(const std::filesystem::path& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) return errno == ENOENT ? fail(ENOENT) : errno_error(path.string());
  if (!S_ISDIR(st.st_mode))
    return fail(EPERM, path.string(), " is no directory of yours, but a symlink or file");
  if (st.st_uid != ::geteuid() && st.st_uid != 0)
    return fail(EPERM, path.string(), " is the directory of user ", st.st_uid);
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return fail(EPERM, path.string(), " can be written to by others");
  return {};
}

Result<void> sync_directory(const std::filesystem::path& path) {
  // One that may be written in but not read can't be opened, and so not be synced: nobody is refused for
  // that.
  const UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory && errno == EACCES) return {};
  if (!directory) return errno_error("cannot open ", path.string());
  return sync_names(directory.get(), path);
}

Result<void> rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return errno_error("cannot rename ", from.string(), " to ", to.string());
  }
  LB_TRY(sync_directory(directory_of(to)));
  if (directory_of(from) == directory_of(to)) return {};
  return sync_directory(directory_of(from));
}

Result<void> FileAppender::append(std::span<const std::byte> bytes) {
  if (auto written = write_all(to_, bytes, size_bytes_); !written) return while_doing(written.error(), name_);
  size_bytes_ += bytes.size();
  return {};
}

Result<void> FileAppender::restart() {
  // Where nothing was written nothing is asked: a FUSE mount takes no ftruncate(2) from another user's
  // process.
  if (size_bytes_ == 0) return {};
  if (::ftruncate(to_, 0) != 0) return errno_error("cannot empty ", name_);
  size_bytes_ = 0;
  return {};
}

Result<void> FileAppender::read_back(std::uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t got = ::pread(to_, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("read of ", name_);
    if (got == 0) return fail(EIO, name_, " became shorter");
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path, mode_t mode, Way way) {
  const auto where = directory_of(path);
  UniqueFd directory(::open(where.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return errno_error("cannot write in ", where.string());
  AtomicFile file(path, std::move(directory));
  if (way == Way::kNamelessIfAble) {
    const int nameless = ::openat(file.directory_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (nameless >= 0) {
      file.fd_ = UniqueFd(nameless);
      file.to_ = nameless;
      return file;
    }
    if (errno != EOPNOTSUPP && errno != EINVAL) return errno_error("cannot write in ", where.string());
  }
  file.beside_ = name_beside(path);
  // Of a process that had our number, and crashed.
  ::unlinkat(file.directory_.get(), file.beside_.c_str(), 0);
  file.fd_ = UniqueFd(
      ::openat(file.directory_.get(), file.beside_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!file.fd_) return errno_error("cannot write in ", where.string());
  file.to_ = file.fd_.get();
  return file;
}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this == &other) return *this;
  discard();
  static_cast<FileAppender&>(*this) = other;
  path_ = std::move(other.path_);
  directory_ = std::move(other.directory_);
  fd_ = std::move(other.fd_);
  beside_ = std::exchange(other.beside_, {});
  return *this;
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() {
  if (fd_ && !beside_.empty()) ::unlinkat(directory_.get(), beside_.c_str(), 0);
}

Result<void> AtomicFile::commit() {
  if (::fsync(fd_.get()) != 0) return errno_error("fsync of ", path_.string());
  LB_TRY(give_name());
  return sync_names(directory_.get(), path_);
}

Result<void> AtomicFile::give_name() {
  const std::string name = path_.filename().string();
  if (beside_.empty()) {
    const std::string self = descriptor_path(fd_.get());
    const auto link = [&](const std::string& to) {
      return ::linkat(AT_FDCWD, self.c_str(), directory_.get(), to.c_str(), AT_SYMLINK_FOLLOW) == 0;
    };
    if (link(name)) return {};
    if (errno != EEXIST) return errno_error("cannot name ", path_.string());
    // linkat never replaces: take a name beside it, and rename over.
    std::string beside = name_beside(path_);
    if (!link(beside)) return errno_error("cannot name ", path_.string(), " beside itself");
    beside_ = std::move(beside);
  }
  if (::renameat(directory_.get(), beside_.c_str(), directory_.get(), name.c_str()) != 0) {
    return errno_error("cannot replace ", path_.string());
  }
  beside_.clear();
  return {};
}

Result<void> write_whole_file(const std::filesystem::path& path, std::string_view text, mode_t mode) {
  LB_ASSIGN(AtomicFile file, AtomicFile::create(path, mode));
  LB_TRY(file.append(as_bytes(text)));
  return file.commit();
}

}  // namespace layerboot
