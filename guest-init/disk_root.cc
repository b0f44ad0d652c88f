#include "guest-init/disk_root.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string_view>

#include "guest-init/console.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"
#include "guest-init/mounts.h"
#include "guest-init/open_in_root.h"
#include "guest-init/root_paths.h"
#include "guest-init/tar_header.h"

namespace guest_init {

namespace {

constexpr const char* kAppliedMark = "trusted.layerboot.vm-layer";
constexpr std::string_view kWhiteout = ".wh.";
constexpr const char* kModulesMount = "/modules";
constexpr const char* kGivenName = "/sys/firmware/qemu_fw_cfg/by_name/opt/layerboot/hostname/raw";
constexpr const char* kNamedMark = "trusted.layerboot.name";
constexpr std::size_t kMaxHostNameBytes = 63;

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
    done = fd >= 0 && write_all(fd, content) && fchmod(fd, mode) == 0;
    if (fd >= 0) close(fd);
  }
  const int error = errno;
  close(parent);
  errno = error;
  return done;
}

bool put_files(int root, std::string_view tar) {
  char block[kTarBlock];
  while (tar.size() >= kTarBlock) {
    tar.copy(block, kTarBlock);
    const auto entry = decode_tar_block(block);
    if (!entry) return false;
    if (entry->name.empty()) return true;
    tar.remove_prefix(kTarBlock);
    if (entry->size_bytes > tar.size()) return false;
    if (!put_file(root, entry->name, tar.substr(0, entry->size_bytes), entry->mode)) {
      say("cannot put " + entry->name + " on the disk" + because());
      return false;
    }
    tar.remove_prefix(std::min<std::size_t>(tar.size(), entry->size_bytes + tar_padding(entry->size_bytes)));
  }
  return true;
}

/// What a host name may hold; anything else becomes a '-'. Empty where nothing is left.
std::string host_name_of(std::string_view given) {
  std::string name;
  for (const char c : given) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    if (name.size() == kMaxHostNameBytes) break;
    if (good || !name.empty()) name += good ? c : '-';
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.substr(std::min(name.find_first_not_of('-'), name.size()));
}

std::string read_in_root(int root, const char* path) {
  const int fd = open_in_root(root, path, O_RDONLY);
  if (fd < 0) return {};
  const std::string text = read_text("/proc/self/fd/" + std::to_string(fd));
  close(fd);
  return text;
}

/// The file with `name` on the line of 127.0.1.1, which is this machine's own by Debian's custom.
std::string hosts_with(std::string hosts, const std::string& name) {
  constexpr std::string_view kOwn = "127.0.1.1";
  const std::string line = std::string(kOwn) + " " + name;
  std::size_t at = hosts.starts_with(kOwn) ? 0 : hosts.find("\n" + std::string(kOwn));
  if (at == std::string::npos) {
    if (!hosts.empty() && hosts.back() != '\n') hosts += '\n';
    return hosts + line + "\n";
  }
  if (hosts[at] == '\n') ++at;
  return hosts.replace(at, std::min(hosts.find('\n', at), hosts.size()) - at, line);
}

std::string mark_of(int root, const char* mark) {
  char text[kMaxHostNameBytes + 1] = {};
  const ssize_t length = fgetxattr(root, mark, text, sizeof(text));
  return length < 0 ? std::string() : std::string(text, static_cast<std::size_t>(length));
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
  if (mark_of(root, kAppliedMark) != mark && put_files(root, tar) &&
      fsetxattr(root, kAppliedMark, mark.data(), mark.size(), 0) != 0)
    say("cannot note on the disk that it has the VM's files" + because());
  close(root);
}

void take_machine_name() {
  const std::string name = host_name_of(read_text(kGivenName));
  if (name.empty()) return;
  const Fd root(open(kNewRoot, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root || mark_of(root.get(), kNamedMark) == name) return;
  const bool put =
      put_file(root.get(), "etc/hostname", name + "\n", 0644) &&
      put_file(root.get(), "etc/hosts", hosts_with(read_in_root(root.get(), "etc/hosts"), name), 0644);
  if (!put || fsetxattr(root.get(), kNamedMark, name.data(), name.size(), 0) != 0)
    say("cannot give the system the machine's name, " + name + because());
}

void mount_kernel_modules(const std::string& device) {
  const bool mounted = mount_when_there({.source = device,
                                         .where = kModulesMount,
                                         .type = "ext4",
                                         .flags = MS_RDONLY | MS_NOSUID | MS_NODEV,
                                         .data = "",
                                         .what = "the kernel's modules"});
  if (!mounted) return say("cannot mount the kernel's modules, " + device + because());
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
