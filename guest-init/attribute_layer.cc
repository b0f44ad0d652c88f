#include "guest-init/attribute_layer.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <utility>

#include "guest-init/attribute_words.h"
#include "guest-init/console.h"
#include "guest-init/fd.h"

namespace guest_init {

namespace {

/// Overlayfs's own: an image's are shown to nobody, and here they would be obeyed.
constexpr std::string_view kOverlayPrefix = "trusted.overlay.";
constexpr const char* kMetacopy = "trusted.overlay.metacopy";

class Filling {
 public:
  Filling(const std::string& image, const std::string& layer) : image_(image + "/"), layer_(layer + "/") {}

  bool add(const std::string& path) {
    struct stat there{};
    if (!make_parents(path) || lstat((image_ + path).c_str(), &there) != 0) return false;
    if (S_ISDIR(there.st_mode)) {
      attributed_.insert(path);
      return make_directory(path);
    }
    if (there.st_nlink > 1) {
      const auto [first, is_new] = files_.try_emplace({there.st_dev, there.st_ino}, path);
      if (!is_new) return link((layer_ + first->second).c_str(), (layer_ + path).c_str()) == 0;
    }
    return make(path, there) && give(path, there) && copy_attributes(path) && set_times(path, there);
  }
  /// Of directories: what was made in them would have had their default ACL, and has changed their times.
  bool finish() {
    for (const auto& [path, there] : directories_) {
      if (attributed_.contains(path) && !copy_attributes(path)) return false;
      if (!set_times(path, there)) return false;
    }
    return true;
  }

 private:
  bool make_parents(const std::string& path) {
    for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      if (!make_directory(path.substr(0, slash))) return false;
    }
    return true;
  }
  bool make_directory(const std::string& path) {
    if (directories_.contains(path)) return true;
    struct stat there{};
    if (lstat((image_ + path).c_str(), &there) != 0) return false;
    if (mkdir((layer_ + path).c_str(), 0700) != 0 || !give(path, there)) return false;
    directories_.emplace(path, there);
    return true;
  }
  bool make(const std::string& path, const struct stat& there) {
    const std::string to = layer_ + path;
    if (S_ISLNK(there.st_mode)) {
      std::string target(PATH_MAX, '\0');
      const ssize_t size = readlink((image_ + path).c_str(), target.data(), target.size());
      if (size < 0) return false;
      target.resize(static_cast<std::size_t>(size));
      return symlink(target.c_str(), to.c_str()) == 0;
    }
    if (mknod(to.c_str(), (there.st_mode & static_cast<mode_t>(S_IFMT)) | 0600U, there.st_rdev) != 0)
      return false;
    if (!S_ISREG(there.st_mode)) return true;
    return truncate(to.c_str(), there.st_size) == 0 && lsetxattr(to.c_str(), kMetacopy, "", 0, 0) == 0;
  }
  /// Owners first: with a change of owner set-id bits go.
  bool give(const std::string& path, const struct stat& there) {
    const std::string to = layer_ + path;
    if (lchown(to.c_str(), there.st_uid, there.st_gid) != 0) return false;
    return S_ISLNK(there.st_mode) || chmod(to.c_str(), there.st_mode & 07777) == 0;
  }
  bool copy_attributes(const std::string& path) {
    const std::string from = image_ + path;
    const std::string to = layer_ + path;
    const ssize_t listed = llistxattr(from.c_str(), names_.data(), names_.size());
    if (listed < 0) return false;
    for (std::size_t at = 0; at < static_cast<std::size_t>(listed);) {
      const std::string name(names_.data() + at);
      at += name.size() + 1;
      if (name.starts_with(kOverlayPrefix)) continue;
      const ssize_t size = lgetxattr(from.c_str(), name.c_str(), value_.data(), value_.size());
      if (size < 0) return false;
      if (lsetxattr(to.c_str(), name.c_str(), value_.data(), static_cast<std::size_t>(size), 0) != 0)
        return false;
    }
    return true;
  }
  bool set_times(const std::string& path, const struct stat& there) {
    const timespec times[2] = {there.st_atim, there.st_mtim};
    return utimensat(AT_FDCWD, (layer_ + path).c_str(), times, AT_SYMLINK_NOFOLLOW) == 0;
  }

  std::string image_;
  std::string layer_;
  std::map<std::string, struct stat> directories_;
  std::set<std::string> attributed_;                      // of these
  std::map<std::pair<dev_t, ino_t>, std::string> files_;  // those with several names, by the first
  // Room for what the kernel says, once for all objects.
  std::string names_ = std::string(XATTR_LIST_MAX, '\0');
  std::string value_ = std::string(XATTR_SIZE_MAX, '\0');
};

/// What the image says; false where it does not.
bool read_paths(const std::string& image, std::string& paths) {
  paths.resize(XATTR_SIZE_MAX);
  const ssize_t size = lgetxattr(image.c_str(), kAttributedPaths, paths.data(), paths.size());
  if (size < 0) return false;
  paths.resize(static_cast<std::size_t>(size));
  return true;
}

bool mount_layer(const std::string& image, const std::string& where, std::string_view paths) {
  mkdir(where.c_str(), 0700);
  if (mount("tmpfs", where.c_str(), "tmpfs", 0, "mode=0755") != 0) return false;
  if (fill_attribute_layer(image, where, paths) &&
      mount(nullptr, where.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0)
    return true;
  const int why = errno;
  umount2(where.c_str(), MNT_DETACH);
  errno = why;
  return false;
}

}  // namespace

bool fill_attribute_layer(const std::string& image, const std::string& layer, std::string_view paths) {
  Filling filling(image, layer);
  while (!paths.empty()) {
    const std::string path(paths.substr(0, paths.find('\0')));
    paths.remove_prefix(std::min(paths.size(), path.size() + 1));
    if (!filling.add(path)) return false;
  }
  return filling.finish();
}

bool lay_attributes(const std::string& image, const std::string& where) {
  std::string paths;
  if (!read_paths(image, paths)) return false;
  if (!paths.empty() && !mount_layer(image, where, paths)) {
    note("the image's extended attributes are asked for one by one" + because());
    return false;
  }
  // The answer is that there is none, and that there is none of any other.
  char nothing = 0;
  lgetxattr(image.c_str(), kForgoAttributes, &nothing, sizeof(nothing));
  return !paths.empty();
}

}  // namespace guest_init
