#include "guest-init/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "guest-init/console.h"
#include "guest-init/exit_codes.h"
#include "guest-init/fd.h"

namespace guest_init {

namespace {

constexpr std::size_t kSuperblockBytes = 1024;
constexpr off_t kSuperblockAt = 1024;
constexpr std::size_t kMagicAt = 56;
constexpr std::size_t kBlocksLowAt = 4;
constexpr std::size_t kBlockSizeAt = 24;  // as the power of two over 1024
constexpr std::size_t kBlocksHighAt = 336;
constexpr std::size_t kUuidAt = 104;
constexpr std::size_t kUuidBytes = 16;
constexpr std::size_t kLabelAt = 120;
constexpr std::size_t kLabelBytes = 16;

constexpr const char* kCheckers[] = {"/sbin/e2fsck", "/bin/e2fsck"};
// e2fsck(8), exit codes: a sum of these.
constexpr int kRestartWanted = 2;
constexpr int kLeftUncorrected = 4;

bool read_superblock(const std::string& device, std::array<char, kSuperblockBytes>& bytes) {
  const Fd fd(open(device.c_str(), O_RDONLY | O_CLOEXEC));
  return fd &&
         pread(fd.get(), bytes.data(), bytes.size(), kSuperblockAt) == static_cast<ssize_t>(bytes.size());
}

std::uint32_t number_at(std::string_view superblock, std::size_t at) {
  std::uint32_t number = 0;
  std::memcpy(&number, superblock.data() + at, sizeof(number));  // little-endian, as this machine is
  return number;
}

bool matches(const std::string& device, std::string_view name, std::string_view value) {
  std::array<char, kSuperblockBytes> bytes{};
  if (!read_superblock(device, bytes)) return false;
  ExtIdentity identity;
  if (!parse_ext_superblock({bytes.data(), bytes.size()}, identity)) return false;
  if (name == "LABEL") return identity.label == value;
  return strcasecmp(identity.uuid.c_str(), std::string(value).c_str()) == 0;
}

}  // namespace

bool parse_ext_superblock(std::string_view superblock, ExtIdentity& identity) {
  if (superblock.size() < kSuperblockBytes) return false;
  if (static_cast<unsigned char>(superblock[kMagicAt]) != 0x53 ||
      static_cast<unsigned char>(superblock[kMagicAt + 1]) != 0xef)
    return false;
  identity.uuid.clear();
  for (std::size_t i = 0; i < kUuidBytes; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", static_cast<unsigned char>(superblock[kUuidAt + i]));
    if (i == 4 || i == 6 || i == 8 || i == 10) identity.uuid += '-';
    identity.uuid += digits;
  }
  const std::string_view label = superblock.substr(kLabelAt, kLabelBytes);
  identity.label = label.substr(0, label.find('\0'));
  return true;
}

std::uint64_t parse_ext_bytes(std::string_view superblock) {
  ExtIdentity identity;
  if (!parse_ext_superblock(superblock, identity)) return 0;
  const std::uint64_t blocks =
      number_at(superblock, kBlocksLowAt) | std::uint64_t{number_at(superblock, kBlocksHighAt)} << 32;
  return blocks << (10 + (number_at(superblock, kBlockSizeAt) & 7U));
}

std::uint64_t ext_bytes(const std::string& device) {
  std::array<char, kSuperblockBytes> bytes{};
  return read_superblock(device, bytes) ? parse_ext_bytes({bytes.data(), bytes.size()}) : 0;
}

std::string find_root_device(const std::string& root) {
  const std::string_view name = std::string_view(root).substr(0, root.find('='));
  if (name != "UUID" && name != "LABEL") return root;
  const std::string_view value = std::string_view(root).substr(name.size() + 1);
  DIR* stream = opendir("/sys/class/block");
  if (!stream) return {};
  std::string found;
  while (const dirent* entry = readdir(stream)) {
    const std::string device = std::string("/dev/") + entry->d_name;
    if (entry->d_name[0] != '.' && matches(device, name, value)) found = device;
  }
  closedir(stream);
  return found;
}

void check_disk(const std::string& device) {
  const char* checker = nullptr;
  for (const char* path : kCheckers) {
    if (!checker && access(path, X_OK) == 0) checker = path;
  }
  if (!checker) return note("no e2fsck in the initrd: the kernel replays the journal of " + device);
  const pid_t child = fork();
  if (child == 0) {
    execl(checker, "e2fsck", "-p", device.c_str(), static_cast<char*>(nullptr));
    _exit(kNotFound);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return;
  const int code = WEXITSTATUS(status);
  if (code >= kLeftUncorrected) {
    stop_boot("e2fsck -p " + device + " ended with " + std::to_string(code) +
              ": boot with `single` and repair it by hand");
  }
  if ((code & kRestartWanted) != 0) restart();
}

}  // namespace guest_init
