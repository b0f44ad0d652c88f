#include "guest-init/disk_root.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "guest-init/console.h"
#include "guest-init/files.h"
#include "guest-init/mounts.h"
#include "guest-init/open_in_root.h"
#include "guest-init/root_paths.h"

namespace guest_init {

namespace {

constexpr std::size_t kBlock = 512;
constexpr const char* kAppliedMark = "trusted.layerboot.vm-layer";
constexpr std::string_view kWhiteout = ".wh.";
constexpr const char* kModulesMount = "/modules";

bool write_whole(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t put = write(fd, content.data(), content.size());
    if (put < 0) return false;
    content.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

bool put_file(int root, const std::string& path, std::string_view content, unsigned mode) {
  const std::size_t slash = path.rfind('/');
  const int parent = make_directory_in_root(root, slash == std::string::npos ? "" : path.substr(0, slash));
  if (parent < 0) return false;
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const bool whiteout = name.starts_with(kWhiteout);
  if (whiteout) name.erase(0, kWhiteout.size());
  bool done = unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT;
  if (done && !whiteout) {
    const int fd = openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    done = fd >= 0 && write_whole(fd, content) && fchmod(fd, mode) == 0;
    if (fd >= 0) close(fd);
  }
  const int error = errno;
  close(parent);
  errno = error;
  return done;
}

std::string text_field(std::string_view header, std::size_t offset, std::size_t length) {
  const std::string_view field = header.substr(offset, length);
  return std::string(field.substr(0, field.find('\0')));
}

std::uint64_t octal_field(std::string_view header, std::size_t offset, std::size_t length) {
  return std::strtoull(text_field(header, offset, length).c_str(), nullptr, 8);
}

bool put_files(int root, std::string_view tar) {
  while (tar.size() >= kBlock && tar.front() != '\0') {
    const std::string_view header = tar.substr(0, kBlock);
    const std::string path = text_field(header, 0, 100);
    const auto mode = static_cast<unsigned>(octal_field(header, 100, 8));
    const std::uint64_t size = octal_field(header, 124, 12);
    tar.remove_prefix(kBlock);
    if (size > tar.size()) return false;
    if (!put_file(root, path, tar.substr(0, size), mode & 07777)) {
      say("cannot put " + path + " on the disk" + because());
      return false;
    }
    const std::uint64_t padded = (size + kBlock - 1) / kBlock * kBlock;
    tar.remove_prefix(padded < tar.size() ? padded : tar.size());
  }
  return true;
}

/// FNV-1a: it tells one content from the next, nothing more.
std::string content_mark(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return std::to_string(hash);
}

}  // namespace

void apply_vm_layer(const char* archive) {
  const std::string tar = read_text(archive);
  if (tar.empty()) return;
  const int root = open(kNewRoot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return;
  const std::string mark = content_mark(tar);
  char applied[32] = {};
  const ssize_t length = fgetxattr(root, kAppliedMark, applied, sizeof(applied));
  const bool is_new = length < 0 || std::string_view(applied, static_cast<std::size_t>(length)) != mark;
  if (is_new && put_files(root, tar) && fsetxattr(root, kAppliedMark, mark.data(), mark.size(), 0) != 0)
    say("cannot note on the disk that it has the VM's files" + because());
  close(root);
}

void mount_kernel_modules(const std::string& device) {
  mkdir(kModulesMount, 0755);
  if (mount(device.c_str(), kModulesMount, "ext4", MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) != 0)
    return say("cannot mount the kernel's modules, " + device + because());
  utsname kernel{};
  uname(&kernel);
  const std::string release = kernel.release;
  const int root = open(kNewRoot, O_PATH | O_DIRECTORY | O_CLOEXEC);
  const std::string base = kModulesMount;
  bind_into_root(base + "/usr/lib/modules/" + release, make_directory_in_root(root, "lib/modules/" + release),
                 "the modules");
  const std::string config = "boot/config-" + release;
  int target = open_in_root(root, config.c_str(), O_PATH);
  if (target < 0 && put_file(root, config, {}, 0644)) target = open_in_root(root, config.c_str(), O_PATH);
  bind_into_root(base + "/" + config, target, "the kernel's configuration");
  close(root);
  // The bound parts stay.
  umount2(kModulesMount, MNT_DETACH);
}

}  // namespace guest_init
