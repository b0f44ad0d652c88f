#include "tests/process/hung_file_system.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "oci-mount/base/str_cat.h"

namespace layerboot::test {

namespace {

constexpr int kMinuteMs = 60'000;

bool readable(int fd, int timeout_ms) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&one, 1, timeout_ms) == 1;
}

}  // namespace

HungFileSystem::HungFileSystem(std::filesystem::path place) : place_(std::move(place)) {
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
  attr.attr.ino = FUSE_ROOT_ID;
  attr.attr.mode = S_IFDIR | 0755;
  attr.attr.nlink = 2;
  fuse_open_out open{};
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
    case FUSE_OPENDIR:
      payload = {&open, sizeof(open)};
      break;
    case FUSE_RELEASEDIR:
      break;
    default:
      out.error = in.opcode == FUSE_LOOKUP ? -ENOENT : -ENOSYS;
  }
  out.len = static_cast<std::uint32_t>(sizeof(out) + payload.iov_len);
  const iovec parts[] = {{&out, sizeof(out)}, payload};
  static_cast<void>(::writev(device_.get(), parts, payload.iov_len == 0 ? 1 : 2));
}

}  // namespace layerboot::test
