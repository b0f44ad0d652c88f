#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string>
#include <vector>

#include "guest-init/copy_files.h"
#include "guest-init/copy_words.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"
#include "guest-init/tar_header.h"

namespace guest_init {

namespace {

/// Writes a tree as a tar to standard output. Errors are told, and the rest goes on.
class TarOut {
 public:
  int pack(const std::string& path, const std::string& name, bool follow) {
    add(path, name, follow);
    put(std::string(2 * kTarBlock, '\0'));
    return good_ ? 0 : 1;
  }

 private:
  void fail(const std::string& path) {
    complain(path + ": " + std::strerror(errno));
    good_ = false;
  }

  void put(std::string_view bytes) {
    if (!write_all(STDOUT_FILENO, bytes)) _exit(1);  // nobody reads any more
  }

  void add(const std::string& path, const std::string& name, bool follow) {
    struct stat st{};
    if ((follow ? stat(path.c_str(), &st) : lstat(path.c_str(), &st)) != 0) return fail(path);
    TarEntry entry{.kind = TarKind::kFile,
                   .name = name,
                   .target = {},
                   .size_bytes = 0,
                   .mode = st.st_mode & 07777,
                   .uid = st.st_uid,
                   .gid = st.st_gid,
                   .mtime = st.st_mtim.tv_sec,
                   .major = major(st.st_rdev),
                   .minor = minor(st.st_rdev)};
    switch (st.st_mode & S_IFMT) {
      case S_IFREG:
        return add_file(path, entry, st);
      case S_IFDIR:
        return add_directory(path, entry);
      case S_IFLNK:
        return add_symlink(path, entry);
      case S_IFSOCK:
        return complain(path + ": a socket is left out");
      case S_IFCHR:
        entry.kind = TarKind::kCharacterDevice;
        break;
      case S_IFBLK:
        entry.kind = TarKind::kBlockDevice;
        break;
      default:
        entry.kind = TarKind::kFifo;
    }
    put(encode_tar_entry(entry));
  }

  void add_file(const std::string& path, TarEntry& entry, const struct stat& st) {
    const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return fail(path);
    entry.size_bytes = static_cast<std::uint64_t>(st.st_size);
    put(encode_tar_entry(entry));
    std::uint64_t left = entry.size_bytes;
    while (left > 0) {
      const ssize_t got = read(file.get(), chunk_.data(), std::min<std::uint64_t>(chunk_.size(), left));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(path);
      if (got <= 0) break;
      put({chunk_.data(), static_cast<std::size_t>(got)});
      left -= static_cast<std::uint64_t>(got);
    }
    if (left > 0) {
      complain(path + ": shorter than it was, filled with zeros");
      good_ = false;
    }
    for (; left > 0; left -= std::min<std::uint64_t>(left, kTarBlock))
      put(std::string(std::min<std::uint64_t>(left, kTarBlock), '\0'));
    put(std::string(tar_padding(entry.size_bytes), '\0'));
  }

  void add_symlink(const std::string& path, TarEntry& entry) {
    char target[PATH_MAX];
    const ssize_t size = readlink(path.c_str(), target, sizeof(target));
    if (size < 0) return fail(path);
    entry.kind = TarKind::kSymlink;
    entry.target.assign(target, static_cast<std::size_t>(size));
    put(encode_tar_entry(entry));
  }

  void add_directory(const std::string& path, TarEntry& entry) {
    entry.kind = TarKind::kDirectory;
    const std::string name = entry.name;
    entry.name += "/";
    put(encode_tar_entry(entry));
    struct statfs fs{};
    // Not files, and without an end.
    if (statfs(path.c_str(), &fs) == 0 && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC)) return;
    std::vector<std::string> names;
    DIR* stream = opendir(path.c_str());
    if (!stream) return fail(path);
    while (const dirent* one = readdir(stream)) {
      const std::string_view text = one->d_name;
      if (text != "." && text != "..") names.emplace_back(text);
    }
    closedir(stream);
    std::sort(names.begin(), names.end());
    for (const auto& below : names) {
      std::string deeper = path;
      if (!deeper.ends_with('/')) deeper += '/';
      std::string inside = name;
      add(deeper.append(below), inside.append("/").append(below), false);
    }
  }

  std::array<char, kCopyChunkBytes> chunk_{};
  bool good_ = true;
};

}  // namespace

int copy_out(const CopyRequest& request) {
  std::string path = request.path.starts_with('/') ? request.path : "/" + request.path;
  // What a '/' follows is a directory, behind a symlink too.
  const bool slash = path.size() > 1 && path.ends_with('/');
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const bool follow = request.follow || slash || request.name == ".";
  struct stat st{};
  if ((follow ? stat(path.c_str(), &st) : lstat(path.c_str(), &st)) != 0) {
    complain("no " + path + " in the VM: " + std::strerror(errno));
    return kNothingCopied;
  }
  const bool directory = S_ISDIR(st.st_mode);
  if (!directory && (slash || request.directory)) {
    complain(path + " is no directory");
    return kNothingCopied;
  }
  if (directory && request.file) {
    complain(path + " is a directory, and can't be copied to a file");
    return kNothingCopied;
  }
  return TarOut().pack(path, request.name, follow);
}

}  // namespace guest_init
