#include "guest-init/guest_upper.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "guest-init/attribute_layer.h"
#include "guest-init/console.h"
#include "guest-init/disk.h"
#include "guest-init/fd.h"
#include "guest-init/grow_upper.h"
#include "guest-init/mount_order.h"
#include "guest-init/mounts.h"
#include "guest-init/open_in_root.h"
#include "guest-init/root_paths.h"

namespace guest_init {

namespace {

// In the initramfs, which stays below the root.
constexpr const char* kImage = "/lower";
constexpr const char* kAttributes = "/attributes";
// On the upper's file system.
constexpr const char* kUpper = "/upper/upper";
constexpr const char* kWork = "/upper/work";
constexpr const char* kPlain = "/upper/plain";
// Overlayfs leaves it to say that a volatile upper was not put away in order; in one that ends with this run,
// that only says that the guest was reset.
constexpr const char* kVolatileMark = "/upper/work/work/incompat/volatile";

constexpr const char* kEngineDirectories[] = {"/var/lib/containerd", "/var/lib/containers",
                                              "/var/lib/docker"};
constexpr std::size_t kMaxNameBytes = 255;

/// Owner, mode and times of the image's root, which are the upper's from then on.
void take_attributes(int directory, const struct stat& from) {
  const timespec times[2] = {from.st_atim, from.st_mtim};
  if (fchown(directory, from.st_uid, from.st_gid) != 0 || fchmod(directory, from.st_mode & 07777) != 0 ||
      futimens(directory, times) != 0)
    say("cannot give a directory of the upper its attributes" + because());
}

void make_upper_directories() {
  struct stat image{};
  if (stat(kImage, &image) != 0) stop_boot("cannot look at the image" + because());
  if (mkdir(kUpper, 0755) == 0) {
    const Fd upper(open(kUpper, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    take_attributes(upper.get(), image);
  } else if (errno != EEXIST) {
    stop_boot("cannot make a directory for what the guest writes" + because());
  }
  mkdir(kWork, 0700);
  mkdir(kPlain, 0700);
}

/// The disk may have become larger since its file system was made.
void fill_device(const std::string& device) {
  const Fd disk(open(device.c_str(), O_RDONLY | O_CLOEXEC));
  const off_t size = lseek(disk.get(), 0, SEEK_END);
  const std::uint64_t present = ext_bytes(device);
  if (size < 0 || present == 0 || static_cast<std::uint64_t>(size) <= present) return;
  const Fd top(open(kUpperMount, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const Fd system(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::string why;
  if (!grow_file_system(top.get(), 0, system.get(), why))
    say("the upper's file system does not grow: " + why);
}

void mount_upper(const GuestUpper& upper) {
  mkdir(kUpperMount, 0755);
  if (upper.device.empty()) {
    const std::string data = "mode=0755" + (upper.size.empty() ? "" : ",size=" + upper.size);
    if (mount("tmpfs", kUpperMount, "tmpfs", MS_NOATIME, data.c_str()) != 0)
      stop_boot("cannot mount a tmpfs for what the guest writes" + because());
    return;
  }
  mount_waiting({.source = upper.device,
                 .where = kUpperMount,
                 .type = "ext4",
                 .flags = MS_NOATIME,
                 .data = "discard",
                 .what = "the disk for what the guest writes,"});
  fill_device(upper.device);
}

bool is_empty(int root, const std::string& path) {
  const int directory = open_in_root(root, path.c_str(), O_RDONLY | O_DIRECTORY);
  DIR* stream = directory < 0 ? nullptr : fdopendir(directory);
  if (!stream) {
    if (directory >= 0) close(directory);
    return false;
  }
  bool empty = true;
  while (const dirent* entry = readdir(stream)) {
    empty = empty && (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0);
  }
  closedir(stream);
  return empty;
}

/// A file name for a path; '%' and '/' do not stand for themselves.
std::string name_of(std::string_view path) {
  std::string name;
  for (const char c : path) {
    if (c == '/') {
      name += "%-";
    } else if (c == '%') {
      name += "%%";
    } else {
      name += c;
    }
  }
  return name;
}

void bind_plain(int root, const std::string& path, bool make) {
  if (path.empty()) return;
  const std::string name = name_of(path);
  if (name.size() > kMaxNameBytes)
    return say("the volume /" + path + " stays in the root: its path is too long");
  const std::string source = std::string(kPlain) + "/" + name;
  struct stat there{};
  const bool known = stat(source.c_str(), &there) == 0;
  Fd target(make || known ? make_directory_in_root(root, path)
                          : open_in_root(root, path.c_str(), O_PATH | O_DIRECTORY));
  if (!target) return;
  if (!known) {
    if (!is_empty(root, path) || fstat(target.get(), &there) != 0) return;
    if (mkdir(source.c_str(), 0700) != 0)
      return say("cannot make a directory for the volume /" + path + because());
    const Fd made(open(source.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    take_attributes(made.get(), there);
  }
  bind_into_root(source, dup(target.get()), "the volume /" + path);
}

}  // namespace

void mount_over_image(const BootOptions& options) {
  mount_waiting({.source = options.root,
                 .where = kImage,
                 .type = options.root_type,
                 .flags = MS_RDONLY,
                 .data = options.root_flags,
                 .what = "the image"});
  mount_upper(*options.upper);
  make_upper_directories();
  rmdir(kVolatileMark);
  const std::string above = lay_attributes(kImage, kAttributes) ? std::string(kAttributes) + ":" : "";
  std::string data = "lowerdir=" + above + kImage + ",upperdir=" + kUpper + ",workdir=" + kWork +
                     ",redirect_dir=on,metacopy=on,index=off,xino=off";
  if (options.upper->is_volatile || options.upper->device.empty()) data += ",volatile";
  mkdir(kNewRoot, 0755);
  const unsigned long flags = MS_NOATIME | (options.read_only ? static_cast<unsigned long>(MS_RDONLY) : 0);
  if (mount("overlay", kNewRoot, "overlay", flags, data.c_str()) != 0)
    stop_boot("cannot lay what the guest writes over the image" + because());
}

void bind_plain_directories(const std::vector<std::string>& volumes, bool engines) {
  const Fd root(open(kNewRoot, O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return;
  std::map<std::string, bool> wanted;  // in order: one in another after the outer one
  for (const char* path : kEngineDirectories) wanted[path] = engines;
  for (const auto& volume : volumes) wanted[plain_path(volume)] = true;
  for (const auto& [path, make] : wanted) bind_plain(root.get(), path.substr(1), make);
}

}  // namespace guest_init
