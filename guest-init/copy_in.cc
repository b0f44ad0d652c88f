#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
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

constexpr std::uint64_t kMaxLongBytes = 65536;
constexpr std::size_t kMaxAttributes = 1024;  // of one entry

/// False at the stream's end.
bool read_all_of(char* to, std::size_t size) {
  while (size > 0) {
    const ssize_t got = read(STDIN_FILENO, to, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

/// Reads a tar from standard input, and makes what is in it. Errors are told, and the rest goes on.
class TarIn {
 public:
  /// With `rename` the first component of every name becomes `target`; else names are below it.
  TarIn(std::string target, bool rename, bool owners)
      : target_(std::move(target)), rename_(rename), owners_(owners) {}

  int unpack() {
    std::string long_name;
    std::string long_target;
    for (;;) {
      char block[kTarBlock];
      if (!read_all_of(block, sizeof(block))) return cut_off();
      auto entry = decode_tar_block(block);
      if (!entry) {
        complain("what comes is no tar");
        good_ = false;
        break;
      }
      if (entry->kind == TarKind::kFile && entry->name.empty()) break;
      if (entry->kind == TarKind::kLongName || entry->kind == TarKind::kLongTarget) {
        std::string& text = entry->kind == TarKind::kLongName ? long_name : long_target;
        if (!read_long(*entry, text)) return cut_off();
        continue;
      }
      if (!long_name.empty()) entry->name = std::exchange(long_name, {});
      if (!long_target.empty()) entry->target = std::exchange(long_target, {});
      if (entry->kind == TarKind::kAttribute) {
        if (!read_attribute(*entry)) return cut_off();
        continue;
      }
      if (!make(*entry)) return cut_off();
      attributes_.clear();
    }
    set_directories();
    // Whoever writes is not to be cut off.
    while (read(STDIN_FILENO, chunk_.data(), chunk_.size()) > 0) continue;
    return good_ ? 0 : 1;
  }

 private:
  struct Attribute {
    std::string name;
    std::string value;
  };
  using Attributes = std::vector<Attribute>;
  struct Directory {
    std::string path;
    TarEntry entry;
    Attributes attributes;
  };

  int cut_off() {
    complain("the copy was cut off");
    return 1;
  }
  void fail(const std::string& path) {
    complain(path + ": " + std::strerror(errno));
    good_ = false;
  }

  bool read_long(const TarEntry& entry, std::string& text) {
    if (entry.size_bytes > kMaxLongBytes) return false;
    text.resize(entry.size_bytes);
    if (!read_all_of(text.data(), text.size()) || !skip(tar_padding(entry.size_bytes))) return false;
    text.resize(strnlen(text.data(), text.size()));
    return true;
  }

  bool read_attribute(const TarEntry& entry) {
    if (entry.size_bytes > kMaxLongBytes || attributes_.size() == kMaxAttributes) return false;
    Attribute& attribute = attributes_.emplace_back();
    attribute.name = entry.name;
    attribute.value.resize(entry.size_bytes);
    return read_all_of(attribute.value.data(), attribute.value.size()) && skip(tar_padding(entry.size_bytes));
  }

  bool skip(std::uint64_t size_bytes) {
    while (size_bytes > 0) {
      const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(size_bytes, chunk_.size()));
      if (!read_all_of(chunk_.data(), piece)) return false;
      size_bytes -= piece;
    }
    return true;
  }

  /// Where an entry of that name goes; empty for one that leads out of the target.
  std::string place_of(std::string_view name) const {
    std::string path = target_;
    bool first = rename_;
    while (!name.empty()) {
      const std::string_view part = name.substr(0, name.find('/'));
      name.remove_prefix(part.size() < name.size() ? part.size() + 1 : name.size());
      if (part.empty()) continue;
      if (part == "..") return {};
      if (std::exchange(first, false) || part == ".") continue;
      if (!path.ends_with('/')) path += '/';
      path += part;
    }
    return path;
  }

  /// False at the stream's end.
  bool make(const TarEntry& entry) {
    std::string path = place_of(entry.name);
    const bool is_file = entry.kind == TarKind::kFile || entry.kind == TarKind::kFileOrInto;
    const std::uint64_t data = is_file ? entry.size_bytes : 0;
    if (entry.kind == TarKind::kFileOrInto && !path.empty() && leads_to_directory(path)) {
      // Below it, whatever the name is.
      const TarIn within(path, false, false);
      path = within.place_of(entry.target);
    }
    if (path.empty()) {
      complain(entry.name + ": leads out of the target, left out");
      good_ = false;
      return skip(data + tar_padding(data));
    }
    switch (entry.kind) {
      case TarKind::kFile:
      case TarKind::kFileOrInto:
        return make_file(path, entry);
      case TarKind::kDirectory:
      case TarKind::kSetDirectory:
        make_directory(path, entry);
        return true;
      case TarKind::kSymlink:
        clear(path);
        if (symlink(entry.target.c_str(), path.c_str()) != 0) fail(path);
        set_attributes(path, entry);
        return true;
      case TarKind::kHardLink:
        clear(path);
        if (link(place_of(entry.target).c_str(), path.c_str()) != 0) fail(path);
        return true;
      case TarKind::kCharacterDevice:
      case TarKind::kBlockDevice:
      case TarKind::kFifo:
        make_node(path, entry);
        return true;
      default:
        complain(entry.name + ": of a kind that is not known, left out");
        good_ = false;
        return skip(entry.size_bytes + tar_padding(entry.size_bytes));
    }
  }

  static bool leads_to_directory(const std::string& path) {
    struct stat st{};
    return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
  }

  /// What is no directory makes room; a file that something is mounted on stays, and is written to.
  static void clear(const std::string& path) {
    struct stat st{};
    if (lstat(path.c_str(), &st) == 0 && !S_ISDIR(st.st_mode)) unlink(path.c_str());
  }

  bool make_file(const std::string& path, const TarEntry& entry) {
    clear(path);
    const Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    bool writing = static_cast<bool>(file);
    if (!writing) fail(path);
    for (std::uint64_t left = entry.size_bytes; left > 0;) {
      const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(left, chunk_.size()));
      if (!read_all_of(chunk_.data(), piece)) return false;
      left -= piece;
      if (writing && !write_all(file.get(), {chunk_.data(), piece})) {
        writing = false;
        fail(path);
      }
    }
    if (file) set_attributes(path, entry);
    return skip(tar_padding(entry.size_bytes));
  }

  void make_directory(const std::string& path, const TarEntry& entry) {
    struct stat st{};
    const bool there = leads_to_directory(path);
    if (!there && mkdir(path.c_str(), 0700) != 0) return fail(path);
    // What was there keeps what it is, unless it is to be set, and is not at the end of a symlink; and times
    // change until the last file is in.
    const bool is_set =
        entry.kind == TarKind::kSetDirectory && lstat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
    if (!there || is_set) directories_.push_back({path, entry, attributes_});
  }

  void make_node(const std::string& path, const TarEntry& entry) {
    mode_t type = S_IFIFO;
    if (entry.kind == TarKind::kCharacterDevice) type = S_IFCHR;
    if (entry.kind == TarKind::kBlockDevice) type = S_IFBLK;
    clear(path);
    if (mknod(path.c_str(), type | 0600, makedev(entry.major, entry.minor)) != 0) return fail(path);
    set_attributes(path, entry);
  }

  void set_attributes(const std::string& path, const TarEntry& entry) {
    if (owners_) [[maybe_unused]]
      const int owned = lchown(path.c_str(), entry.uid, entry.gid);
    if (entry.kind != TarKind::kSymlink) chmod(path.c_str(), entry.mode);
    // Another owner would take capabilities away again, another mode change an ACL.
    for (const auto& [name, value] : attributes_) {
      if (lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0)
        fail(path + ": its attribute " + name);
    }
    const timespec times[2] = {{0, UTIME_OMIT}, {static_cast<time_t>(entry.mtime), 0}};
    utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
  }

  void set_directories() {
    // Of two of one name the last counts.
    for (const Directory& one : directories_) {
      attributes_ = one.attributes;
      set_attributes(one.path, one.entry);
    }
  }

  std::string target_;
  bool rename_;
  bool owners_;
  bool good_ = true;
  Attributes attributes_;  // of the entry that is made
  std::vector<Directory> directories_;
  std::array<char, kCopyChunkBytes> chunk_{};
};

/// Where the copy goes, by docker-cp(1)'s rules; empty with a word for what can't be.
std::string choose_target(const CopyRequest& request, bool& rename) {
  std::string path = request.path.starts_with('/') ? request.path : "/" + request.path;
  const bool slash = path.ends_with('/');
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  struct stat st{};
  const bool there = stat(path.c_str(), &st) == 0;
  rename = !request.name.empty();
  if (there && S_ISDIR(st.st_mode)) {
    if (!rename) return path;
    return (path == "/" ? "" : path) + "/" + request.name;
  }
  const std::string parent = path.substr(0, path.rfind('/') + 1);
  if (there && request.directory) {
    complain(path + " is a file: a directory can't be copied to it");
  } else if (!there && slash && !request.directory) {
    complain("no directory " + path + " in the VM");
  } else if (!there && !request.directory && !rename) {
    complain("no directory " + path + " in the VM to put the tar's files into");
  } else if (!there && access(parent.c_str(), F_OK) != 0) {
    complain("no directory " + parent + " in the VM");
  } else {
    // Behind a symlink it is what that leads to.
    char real[PATH_MAX];
    if (there && realpath(path.c_str(), real) != nullptr) path = real;
    if (!there && !rename) mkdir(path.c_str(), 0755);
    return path;
  }
  return {};
}

}  // namespace

int copy_in(const CopyRequest& request) {
  bool rename = false;
  std::string target = choose_target(request, rename);
  if (target.empty()) return 1;
  return TarIn(std::move(target), rename, request.owners).unpack();
}

}  // namespace guest_init
