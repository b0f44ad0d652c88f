#include "tests/process/hung_file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "oci-mount/base/str_cat.h"

namespace layerboot::test {

namespace {

constexpr int kMinuteMs = 60'000;
constexpr std::uint64_t kHourS = 3600;
constexpr std::uint64_t kFileNode = 2;

fuse_attr attr_of(std::uint64_t node) {
  const bool is_file = node >= kFileNode;
  fuse_attr attr{};
  attr.ino = node;
  attr.mode = is_file ? S_IFREG | 0644 : S_IFDIR | 0755;
  attr.nlink = is_file ? 1 : 2;
  attr.size = node == kFileNode ? HungFileSystem::kFileBytes : 0;
  return attr;
}

void append_dirent(std::vector<std::byte>& page, const fuse_dirent& head, std::string_view name) {
  const std::size_t at = page.size();
  page.resize(at + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name.size()));
  std::memcpy(page.data() + at, &head, FUSE_NAME_OFFSET);
  std::memcpy(page.data() + at + FUSE_NAME_OFFSET, name.data(), name.size());
}

bool readable(int fd, int timeout_ms) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&one, 1, timeout_ms) == 1;
}

}  // namespace

HungFileSystem::HungFileSystem(std::filesystem::path place, const std::vector<std::string>& others)
    : place_(std::move(place)) {
  names_.insert(names_.end(), others.begin(), others.end());
  device_ = UniqueFd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device_) return;
  const auto options = str_cat("fd=", device_.get(), ",rootmode=40000,user_id=0,group_id=0");
  if (::mount("hung", place_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0) return;
  mounted_ = true;
  thread_ = std::thread([this] { answer_until_stopped(); });
}

HungFileSystem::~HungFileSystem() {
  if (!mounted_) return;
  stop_answering();
  ::umount2(place_.c_str(), MNT_DETACH);
}

void HungFileSystem::stop_answering() {
  over_ = true;
  if (thread_.joinable()) thread_.join();
}

bool HungFileSystem::wait_for_question() const { return readable(device_.get(), kMinuteMs); }

void HungFileSystem::answer_until_stopped() {
  constexpr int kLookUpMs = 20;
  while (!over_) {
    if (readable(device_.get(), kLookUpMs)) answer_one();
  }
}

std::uint64_t HungFileSystem::node_of(const char* name) const {
  const auto found = std::ranges::find(names_, name);
  return found == names_.end() ? 0 : kFileNode + static_cast<std::uint64_t>(found - names_.begin());
}

std::vector<std::byte> HungFileSystem::listing(std::uint64_t offset) const {
  std::vector<std::byte> page;
  for (std::uint64_t i = offset; i < names_.size(); ++i) {
    fuse_dirent head{};
    head.ino = kFileNode + i;
    head.off = i + 1;
    head.namelen = static_cast<std::uint32_t>(names_[i].size());
    head.type = DT_REG;
    append_dirent(page, head, names_[i]);
  }
  return page;
}

void HungFileSystem::answer_one() {
  std::vector<std::byte> request(FUSE_MIN_READ_BUFFER + (std::size_t{128} << 10));
  const ssize_t got = ::read(device_.get(), request.data(), request.size());
  fuse_in_header in{};
  if (got < static_cast<ssize_t>(sizeof(in))) return;
  std::memcpy(&in, request.data(), sizeof(in));
  if (in.opcode == FUSE_FORGET || in.opcode == FUSE_BATCH_FORGET || in.opcode == FUSE_INTERRUPT) return;
  fuse_init_out init{};
  init.major = FUSE_KERNEL_VERSION;
  init.minor = FUSE_KERNEL_MINOR_VERSION;
  init.max_write = 4096;
  fuse_attr_out attr{};
  attr.attr_valid = kHourS;
  attr.attr = attr_of(in.nodeid);
  fuse_entry_out entry{};
  entry.attr_valid = kHourS;
  fuse_open_out open{};
  if (in.opcode == FUSE_OPEN) open.open_flags = FOPEN_DIRECT_IO;
  fuse_read_in wanted{};
  std::memcpy(&wanted, request.data() + sizeof(in), sizeof(wanted));
  std::vector<std::byte> bytes;
  fuse_out_header out{};
  out.unique = in.unique;
  iovec payload{nullptr, 0};
  switch (in.opcode) {
    case FUSE_INIT:
      payload = {&init, sizeof(init)};
      break;
    case FUSE_GETATTR:
      payload = {&attr, sizeof(attr)};
      break;
    case FUSE_LOOKUP:
      entry.nodeid = node_of(reinterpret_cast<const char*>(request.data() + sizeof(in)));
      entry.attr = attr_of(entry.nodeid);
      if (entry.nodeid != 0) {
        payload = {&entry, sizeof(entry)};
      } else {
        out.error = -ENOENT;
      }
      break;
    case FUSE_READDIR:
      bytes = listing(wanted.offset);
      payload = {bytes.data(), bytes.size()};
      break;
    case FUSE_READ:
      bytes.resize(wanted.offset < kFileBytes ? std::min<std::size_t>(wanted.size, kFileBytes - wanted.offset)
                                              : 0);
      payload = {bytes.data(), bytes.size()};
      break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
      payload = {&open, sizeof(open)};
      break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
      break;
    default:
      out.error = -ENOSYS;
  }
  out.len = static_cast<std::uint32_t>(sizeof(out) + payload.iov_len);
  const iovec parts[] = {{&out, sizeof(out)}, payload};
  static_cast<void>(::writev(device_.get(), parts, payload.iov_len == 0 ? 1 : 2));
}

}  // namespace layerboot::test
