#include "oci-mount/layer/directory_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/kernel_file_systems.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/stream_hash.h"

namespace layerboot::layer {

namespace {

class Walker {
 public:
  Walker(int top, const std::string& name) : top_(top), name_(name), xattr_room_(kMaxXattrBytes, '\0') {}

  Result<DirectoryWalk> run() {
    struct stat st{};
    if (::fstat(top_, &st) != 0) return errno_error("fstat of ", name_);
    LB_TRY(add("", str_cat(descriptor_path(top_), "/."), st));  // the directory, not the link to it
    waiting_.emplace_back();
    while (!waiting_.empty()) {
      const std::string path = std::move(waiting_.back());
      waiting_.pop_back();
      LB_TRY(walk(path));
    }
    if (left_out_ != 0)
      log_warn(name_, ": left out ", left_out_, left_out_ == 1 ? " name" : " names", " of more than ",
               kMaxNameBytes, " bytes, which Linux has no room for");
    LB_ASSIGN(walk_.entries, entries_.finish());
    return std::move(walk_);
  }

 private:
  struct CloseDir {
    void operator()(DIR* directory) const { ::closedir(directory); }
  };

  [[nodiscard]] std::string shown(std::string_view path) const {
    return path.empty() ? name_ : str_cat(name_, "/", path.substr(0, 256));
  }

  Result<void> walk(const std::string& path) {
    auto opened = open_beneath(top_, path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY, 0,
                               OtherMounts::kEntered);
    if (!opened && opened.error().code == ENOENT) return {};
    if (!opened) return while_doing(opened.error(), "walk of ", shown(path));
    const int directory = opened->get();
    // A chroot's /proc is no part of an image.
    const bool is_kernels = is_on_kernel_file_system(directory);
    if (is_kernels && path.empty())
      return fail(EINVAL, name_, " holds the kernel's own files: it is no image");
    if (is_kernels) return {};
    const std::unique_ptr<DIR, CloseDir> stream(::fdopendir(directory));
    if (!stream) return errno_error("walk of ", shown(path));
    static_cast<void>(opened->release());  // the stream's now
    std::vector<std::string> names;
    for (errno = 0; const dirent* const found = ::readdir(stream.get()); errno = 0) {
      const std::string_view one = found->d_name;
      if (one == "." || one == "..") continue;
      // NTFS and others count characters.
      if (one.size() > kMaxNameBytes) {
        ++left_out_;
        continue;
      }
      names.emplace_back(one);
      if (names.size() > kMaxEntries)
        return fail(E2BIG, shown(path), " has more than the limit of ", kMaxEntries, " entries");
    }
    if (errno != 0) return errno_error("walk of ", shown(path));
    // In an order of its own, so that the same directory always gives the same index.
    std::sort(names.begin(), names.end());
    for (const std::string& one : names) {
      struct stat st{};
      if (::fstatat(directory, one.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;
        return errno_error("stat of ", shown(path), "/", one);
      }
      std::string child = path.empty() ? one : str_cat(path, "/", one);
      LB_TRY(add(child, str_cat(descriptor_path(directory), "/", one), st));
      if (S_ISDIR(st.st_mode)) waiting_.push_back(std::move(child));
    }
    return {};
  }

  Result<void> add(std::string_view path, const std::string& proc_path, const struct stat& st) {
    if (path.size() > kMaxPathBytes)
      return fail(EINVAL, shown(path), "… is over the limit of ", kMaxPathBytes, " bytes for a path");
    const auto depth = static_cast<std::size_t>(std::count(path.begin(), path.end(), '/')) + 1;
    if (depth > kMaxPathDepth)
      return fail(EINVAL, shown(path), "… is nested deeper than the limit of ", kMaxPathDepth);
    TarEntry entry;
    entry.path = path;
    entry.mode = st.st_mode & kPermissionBits;
    entry.uid = st.st_uid;
    entry.gid = st.st_gid;
    entry.mtime_sec = st.st_mtim.tv_sec;
    entry.mtime_nsec = static_cast<std::uint32_t>(st.st_mtim.tv_nsec);
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
      const auto [first, is_new] = linked_.try_emplace({st.st_dev, st.st_ino}, entry.path);
      if (!is_new) {
        entry.type = EntryType::kHardLink;
        entry.link = first->second;
        return entries_.add(entry);
      }
    }
    switch (st.st_mode & kTypeBits) {
      case S_IFREG:
        LB_TRY(add_data(entry, st));
        break;
      case S_IFDIR:
        entry.type = EntryType::kDirectory;
        break;
      case S_IFLNK: {
        entry.type = EntryType::kSymlink;
        std::string target(kMaxSymlinkBytes + 1, '\0');
        const ssize_t got = ::readlink(proc_path.c_str(), target.data(), target.size());
        if (got < 0 && errno == ENOENT) return {};
        if (got <= 0) return errno_error("readlink of ", shown(path));
        if (static_cast<std::size_t>(got) > kMaxSymlinkBytes)
          return fail(EINVAL, shown(path), " has a target over the limit of ", kMaxSymlinkBytes, " bytes");
        entry.link = target.substr(0, static_cast<std::size_t>(got));
        entry.size_bytes = entry.link.size();
        break;
      }
      case S_IFCHR:
      case S_IFBLK:
        entry.type = S_ISCHR(st.st_mode) ? EntryType::kCharDevice : EntryType::kBlockDevice;
        entry.rdev_major = major(st.st_rdev);
        entry.rdev_minor = minor(st.st_rdev);
        break;
      case S_IFIFO:
        entry.type = EntryType::kFifo;
        break;
      default:
        return {};
    }
    LB_TRY(add_xattrs(entry, proc_path));
    return entries_.add(entry);
  }

  Result<void> add_data(TarEntry& entry, const struct stat& st) {
    entry.size_bytes = static_cast<std::uint64_t>(st.st_size);
    if (entry.size_bytes == 0) return {};
    constexpr std::uint64_t kMaxTotal = std::numeric_limits<std::int64_t>::max();
    if (entry.size_bytes > kMaxTotal - walk_.stream_size_bytes)
      return fail(E2BIG, shown(entry.path), ": the directory's files have more than ", kMaxTotal, " bytes");
    entry.extents.push_back({0, walk_.stream_size_bytes, entry.size_bytes});
    walk_.files.push_back({walk_.stream_size_bytes, entry.path, FileStamp::of(st)});
    walk_.stream_size_bytes += entry.size_bytes;
    return {};
  }

  Result<void> add_xattrs(TarEntry& entry, const std::string& proc_path) {
    const ssize_t listed = ::llistxattr(proc_path.c_str(), xattr_room_.data(), xattr_room_.size());
    if (listed <= 0) return {};
    std::string_view names(xattr_room_.data(), static_cast<std::size_t>(listed));
    std::string value(kMaxXattrBytes, '\0');
    std::size_t total_bytes = 0;
    while (!names.empty()) {
      const std::string name(names.substr(0, names.find('\0')));
      names.remove_prefix(std::min(names.size(), name.size() + 1));
      if (name.empty() || name.starts_with("trusted.")) continue;
      const ssize_t got = ::lgetxattr(proc_path.c_str(), name.c_str(), value.data(), value.size());
      if (got < 0) continue;
      total_bytes += name.size() + static_cast<std::size_t>(got);
      if (total_bytes > kMaxXattrBytes)
        return fail(EINVAL, shown(entry.path), " has xattrs over the limit of ", kMaxXattrBytes, " bytes");
      entry.xattrs.emplace_back(name, value.substr(0, static_cast<std::size_t>(got)));
    }
    std::sort(entry.xattrs.begin(), entry.xattrs.end());
    return {};
  }

  int top_;
  const std::string& name_;
  std::string xattr_room_;
  EntryTableBuilder entries_;
  DirectoryWalk walk_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;
  std::vector<std::string> waiting_;
  std::size_t left_out_ = 0;
};

}  // namespace

FileStamp FileStamp::of(const struct stat& st) {
  return {st.st_dev, st.st_ino, static_cast<std::uint64_t>(st.st_size), st.st_mtim.tv_sec,
          st.st_mtim.tv_nsec};
}

Result<DirectoryWalk> walk_directory(int directory, const std::string& name) {
  LB_ASSIGN(DirectoryWalk walk, Walker(directory, name).run());
  std::vector<FileStamp> stamps;
  stamps.reserve(walk.files.size());
  for (const WalkedFile& file : walk.files) stamps.push_back(file.stamp);
  LB_ASSIGN(StreamHash hash, StreamHash::create());
  const auto take = [&hash](std::span<const std::byte> bytes) -> Result<void> {
    hash.update(bytes);
    return {};
  };
  const EntryTable::Shape shape = walk.entries.shape();
  // With their sizes before them, so that no bytes of one part can stand for another's.
  for (const std::uint64_t size : {shape.entry_count, shape.extent_count, shape.xattr_count,
                                   shape.strings_size_bytes, std::uint64_t{stamps.size()}})
    hash.update(object_bytes(size));
  LB_TRY(walk.entries.each_piece(take));
  hash.update(std::as_bytes(std::span(stamps)));
  hash.update(as_bytes(name));
  const StreamHash::Wide digest = hash.wide_digest();
  walk.hash_high = digest.high;
  walk.hash_low = digest.low;
  return walk;
}

}  // namespace layerboot::layer
