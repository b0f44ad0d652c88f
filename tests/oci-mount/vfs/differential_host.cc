// The oracle: the host's kernel on a directory, asked as each operation's actor.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <sstream>

#include "oci-mount/base/device_number.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/file_rules.h"
#include "tests/oci-mount/vfs/differential.h"
#include "tests/oci-mount/vfs/differential_actor.h"

namespace layerboot::test {

namespace {

int code_of(std::int64_t status) { return status < 0 ? errno : 0; }

std::string by_fd(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

vfs::Time time_of(const timespec& time) {
  return {.sec = time.tv_sec, .nsec = static_cast<std::uint32_t>(time.tv_nsec)};
}

std::vector<std::pair<std::string, std::string>> xattrs_of(const std::string& path) {
  std::vector<std::pair<std::string, std::string>> xattrs;
  std::array<char, 8192> names{};
  const ssize_t length = ::listxattr(path.c_str(), names.data(), names.size());
  std::istringstream rest(std::string(names.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))));
  for (std::string name; std::getline(rest, name, '\0');) {
    std::array<char, 4096> value{};
    const ssize_t got = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
    xattrs.emplace_back(name, std::string(value.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))));
  }
  std::ranges::sort(xattrs);
  return xattrs;
}

std::string read_at(int fd, std::uint64_t offset, std::uint64_t length) {
  std::string bytes(length, '\0');
  const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return bytes;
}

UniqueFd open_again(int fd, int flags) { return UniqueFd(::open(by_fd(fd).c_str(), flags | O_CLOEXEC)); }

/// The end of a file's data is told in as many ways as there are to allocate it: what is said must be true.
Answer seek(int fd, const Operation& operation) {
  struct stat st{};
  ::fstat(fd, &st);
  return operation.offset >= static_cast<std::uint64_t>(st.st_size) ? Answer{ENXIO, {}} : Answer{0, "true"};
}

}  // namespace

struct HostSide::Impl {
  UniqueFd top;
  std::array<UniqueFd, kSlots> slots;

  /// Invalid, and errno says why.
  [[nodiscard]] UniqueFd open_path(const std::string& path, int flags = O_PATH) const {
    if (path.empty()) return UniqueFd(::openat(top.get(), ".", flags | O_CLOEXEC));
    auto opened = open_resolving(top.get(), path.c_str() + 1, flags | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
    if (opened) return *std::move(opened);
    errno = opened.error().code;
    return {};
  }
  [[nodiscard]] UniqueFd open_spot(const Spot& spot) const {
    if (spot.slot == Spot::kNone) return open_path(spot.path);
    const int fd = slots.at(static_cast<std::size_t>(spot.slot)).get();
    errno = ENOENT;
    return fd < 0 ? UniqueFd() : UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  }

  struct Name {
    UniqueFd parent;
    std::string name;
  };
  [[nodiscard]] Name split(const std::string& path) const {
    const auto slash = path.rfind('/');
    return {open_path(path.substr(0, slash), O_PATH | O_DIRECTORY), path.substr(slash + 1)};
  }

  Answer on_name(const Operation& op);
  Answer on_two_names(const Operation& op);
  Answer tmpfile_link(const Operation& op);
  Answer on_object(const Operation& op);
  Answer on_data(const Operation& op, int fd);
  Answer hold(const Operation& op) {
    UniqueFd fd = open_path(op.object.path);
    if (!fd) return {errno, {}};
    slots.at(static_cast<std::size_t>(op.other.slot)) = std::move(fd);
    return {};
  }
  [[nodiscard]] Answer list(const std::string& path, std::vector<std::string>* only_names = nullptr) const;
};

Answer HostSide::Impl::on_name(const Operation& op) {
  const Name at = split(op.object.path);
  if (!at.parent) return {errno, {}};
  const int parent = at.parent.get();
  const char* name = at.name.c_str();
  const ActingAs acting(op.actor);
  switch (op.kind) {
    case Kind::kCreate: {
      UniqueFd fd(::openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, op.mode));
      // As a client's OPEN: with O_CREAT a sticky directory's own rules come in (fs.protected_regular).
      if (!fd && errno == EEXIST && !op.is_exclusive) {
        fd = UniqueFd(::openat(parent, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
      }
      if (!fd) return {errno, {}};
      return {op.data.empty() ? 0 : code_of(::pwrite(fd.get(), op.data.data(), op.data.size(), 0)), {}};
    }
    case Kind::kMknod:
      return {code_of(::mknodat(parent, name, op.mode, decode_dev(op.rdev))), {}};
    case Kind::kMkdir:
      return {code_of(::mkdirat(parent, name, op.mode)), {}};
    case Kind::kSymlink:
      return {code_of(::symlinkat(op.data.c_str(), parent, name)), {}};
    case Kind::kUnlink:
      return {code_of(::unlinkat(parent, name, 0)), {}};
    default:
      return {code_of(::unlinkat(parent, name, AT_REMOVEDIR)), {}};
  }
}

Answer HostSide::Impl::on_two_names(const Operation& op) {
  if (op.kind == Kind::kLink) {
    const UniqueFd object = open_spot(op.object);
    if (!object) return {errno, {}};
    const Name to = split(op.other.path);
    if (!to.parent) return {errno, {}};
    const ActingAs acting(op.actor);
    return {code_of(::linkat(object.get(), "", to.parent.get(), to.name.c_str(), AT_EMPTY_PATH)), {}};
  }
  const Name from = split(op.object.path);
  if (!from.parent) return {errno, {}};
  const Name to = split(op.other.path);
  if (!to.parent) return {errno, {}};
  const auto rename = [&] {
    const ActingAs acting(op.actor);
    return code_of(
        ::renameat2(from.parent.get(), from.name.c_str(), to.parent.get(), to.name.c_str(), op.flags));
  };
  const std::string left = by_fd(from.parent.get()) + "/" + from.name;
  struct stat directory{};
  struct stat before{};
  struct stat after{};
  ::fstat(from.parent.get(), &directory);
  ::lstat(left.c_str(), &before);
  const int code = rename();
  if (code == ENOTEMPTY && (op.flags & RENAME_WHITEOUT) != 0) {
    // ext4 has left its whiteout, and taken it back, before it finds that out.
    const std::array<timespec, 2> times{directory.st_atim, directory.st_mtim};
    static_cast<void>(::utimensat(from.parent.get(), "", times.data(), AT_EMPTY_PATH));
  }
  const bool leaves_one = code == 0 && (op.flags & RENAME_WHITEOUT) != 0;
  if (leaves_one && ::lstat(left.c_str(), &after) == 0 && after.st_ino != before.st_ino) {
    // Here it is root's and has no ACL, as XFS's.
    static_cast<void>(::lchown(left.c_str(), 0, 0));
    static_cast<void>(::lremovexattr(left.c_str(), "system.posix_acl_access"));
  }
  return {code, {}};
}

/// Made in the directory of its later name.
Answer HostSide::Impl::tmpfile_link(const Operation& op) {
  const Name to = split(op.other.path);
  if (!to.parent) return {errno, {}};
  const ActingAs acting(op.actor);
  const UniqueFd fd(::openat(to.parent.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, op.mode));
  if (!fd) return {errno, {}};
  if (!op.data.empty() && ::pwrite(fd.get(), op.data.data(), op.data.size(), 0) < 0) return {errno, {}};
  return {code_of(::linkat(fd.get(), "", to.parent.get(), to.name.c_str(), AT_EMPTY_PATH)), {}};
}

Answer HostSide::Impl::on_object(const Operation& op) {
  const UniqueFd object = open_spot(op.object);
  if (!object) return {errno, {}};
  const std::string path = by_fd(object.get());
  switch (op.kind) {
    case Kind::kLookup:
      return {};
    case Kind::kTruncate: {
      const ActingAs acting(op.actor);
      return {code_of(::truncate(path.c_str(), static_cast<off_t>(op.length))), {}};
    }
    case Kind::kChmod: {
      const ActingAs acting(op.actor);
      return {code_of(::chmod(path.c_str(), op.mode)), {}};
    }
    case Kind::kChown: {
      const ActingAs acting(op.actor);
      return {code_of(::fchownat(object.get(), "", op.uid, op.gid, AT_EMPTY_PATH)), {}};
    }
    case Kind::kUtimes: {
      const std::array<timespec, 2> times{overlay::timespec_of(op.atime), overlay::timespec_of(op.mtime)};
      return {code_of(::utimensat(object.get(), "", times.data(), AT_EMPTY_PATH)), {}};
    }
    case Kind::kSetxattr: {
      const ActingAs acting(op.actor);
      return {code_of(::setxattr(path.c_str(), op.name.c_str(), op.data.data(), op.data.size(),
                                 static_cast<int>(op.flags))),
              {}};
    }
    case Kind::kRemovexattr: {
      const ActingAs acting(op.actor);
      return {code_of(::removexattr(path.c_str(), op.name.c_str())), {}};
    }
    default:
      return on_data(op, object.get());
  }
}

Answer HostSide::Impl::on_data(const Operation& op, int object) {
  const UniqueFd fd = open_again(object, O_RDWR | O_NONBLOCK);
  if (!fd) return {errno, {}};
  switch (op.kind) {
    case Kind::kRead:
      return {0, read_at(fd.get(), op.offset, op.length)};
    case Kind::kWrite: {
      const ActingAs acting(op.actor);
      return {code_of(::pwrite(fd.get(), op.data.data(), op.data.size(), static_cast<off_t>(op.offset))), {}};
    }
    case Kind::kFallocate: {
      const ActingAs acting(op.actor);
      return {code_of(::fallocate(fd.get(), static_cast<int>(op.flags), static_cast<off_t>(op.offset),
                                  static_cast<off_t>(op.length))),
              {}};
    }
    case Kind::kSeek:
      return seek(fd.get(), op);
    default: {
      const UniqueFd other = open_spot(op.other);
      if (!other) return {errno, {}};
      const UniqueFd to = open_again(other.get(), O_RDWR | O_NONBLOCK);
      if (!to) return {errno, {}};
      auto from_at = static_cast<off64_t>(op.offset);
      auto to_at = static_cast<off64_t>(op.to_offset);
      const ActingAs acting(op.actor);
      const ssize_t count = ::copy_file_range(fd.get(), &from_at, to.get(), &to_at, op.length, 0);
      return count < 0 ? Answer{errno, {}} : Answer{0, std::to_string(count)};
    }
  }
}

Answer HostSide::Impl::list(const std::string& path, std::vector<std::string>* only_names) const {
  const UniqueFd fd = open_path(path);
  if (!fd) return {errno, {}};
  std::vector<std::pair<std::string, unsigned>> entries;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(by_fd(fd.get()), failed)) {
    struct stat st{};
    ::lstat(entry.path().c_str(), &st);
    entries.emplace_back(entry.path().filename().string(), dirent_type(st.st_mode));
  }
  if (failed) return {failed.value(), {}};
  std::ranges::sort(entries);
  Answer answer;
  for (const auto& [name, type] : entries) {
    answer.told += name + " " + std::to_string(type) + "\n";
    if (only_names != nullptr) only_names->push_back(name);
  }
  return answer;
}

HostSide::HostSide(const std::string& top) : impl_(std::make_unique<Impl>()) {
  impl_->top = UniqueFd(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}
HostSide::~HostSide() = default;

Answer HostSide::run(const Operation& op) {
  switch (op.kind) {
    case Kind::kCreate:
    case Kind::kMknod:
    case Kind::kMkdir:
    case Kind::kSymlink:
    case Kind::kUnlink:
    case Kind::kRmdir:
      return impl_->on_name(op);
    case Kind::kLink:
    case Kind::kRename:
      return impl_->on_two_names(op);
    case Kind::kTmpfileLink:
      return impl_->tmpfile_link(op);
    case Kind::kReaddir:
      return impl_->list(op.object.path);
    case Kind::kHold:
      return impl_->hold(op);
    default:
      return impl_->on_object(op);
  }
}

std::string HostSide::look(const Spot& spot) {
  const UniqueFd fd = impl_->open_spot(spot);
  struct stat st{};
  if (!fd || ::fstat(fd.get(), &st) != 0) return "error: " + std::to_string(errno);
  View view{.ino = st.st_ino,
            .mode = st.st_mode,
            .uid = st.st_uid,
            .gid = st.st_gid,
            .nlink = static_cast<std::uint32_t>(st.st_nlink),
            .rdev = encode_dev(st.st_rdev),
            .size_bytes = static_cast<std::uint64_t>(st.st_size),
            .atime = time_of(st.st_atim),
            .mtime = time_of(st.st_mtim),
            .content = {},
            .xattrs = xattrs_of(by_fd(fd.get()))};
  if (S_ISREG(st.st_mode)) {
    view.content = read_at(open_again(fd.get(), O_RDONLY).get(), 0, view.size_bytes);
  } else if (S_ISLNK(st.st_mode)) {
    view.content.resize(4096);
    view.content.resize(static_cast<std::size_t>(
        std::max<ssize_t>(::readlinkat(fd.get(), "", view.content.data(), view.content.size()), 0)));
  }
  return view.line();
}

std::vector<std::string> HostSide::names_in(const std::string& path) {
  std::vector<std::string> names;
  static_cast<void>(impl_->list(path, &names));
  return names;
}

std::optional<struct stat> HostSide::stat_of(const Spot& spot) const {
  const UniqueFd fd = impl_->open_spot(spot);
  struct stat st{};
  if (!fd || ::fstat(fd.get(), &st) != 0) return std::nullopt;
  return st;
}

void HostSide::drop_slots() {
  for (auto& slot : impl_->slots) slot.reset();
}

bool HostSide::goes_through_symlink(const std::string& path) const {
  for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const auto st = stat_of({.path = path.substr(0, slash)});
    if (st && S_ISLNK(st->st_mode)) return true;
  }
  return false;
}

}  // namespace layerboot::test
