#include "oci-mount/mount/disk_reader.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <string_view>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/child_entry.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/mount/disk_child.h"

namespace layerboot::mount {

namespace {

constexpr std::uint32_t kMaxErrno = 4095;
constexpr std::uint64_t kMaxErrorBytes = 8192;

constinit ChildEntry disk_children("--read-disk", &disk_child_main);

std::unexpected<Error> nonsense() {
  return fail(EIO, "the process that reads the disk answers nonsense; it may be an attack");
}

}  // namespace

std::optional<int> run_as_disk_child(int argc, const char* const* argv) {
  return disk_children.enter(argc, argv);
}

Result<std::shared_ptr<DiskReader>> DiskReader::open(const std::filesystem::path& disk) {
  if (!disk_children.is_offered()) return fail(ENOTSUP, "this program reads no guests' disks");
  LB_ASSIGN(const UniqueFd fd, open_path(disk, O_RDONLY));
  LB_ASSIGN(WalledChild child,
            WalledChild::start(
                {.name = kDiskChildName, .argument = disk_children.argument(), .socket_type = SOCK_STREAM},
                {fd.get()}));
  const timeval silence{.tv_sec = kMaxDiskSilenceSeconds, .tv_usec = 0};
  if (::setsockopt(child.socket(), SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) != 0)
    return errno_error("SO_RCVTIMEO");
  const std::shared_ptr<DiskReader> reader(new DiskReader(std::move(child)));
  const std::string name = disk.string().substr(0, kMaxDiskNameBytes);
  LB_TRY(reader->ask({.what = DiskRequest::kOpen, .size = name.size()}, 0, name));
  return reader;
}

Result<ext2_inode_large> DiskReader::inode(ext2_ino_t number) {
  LB_ASSIGN(const auto bytes, ask({.what = DiskRequest::kInode, .inode = number}, sizeof(ext2_inode_large)));
  if (bytes.size() != sizeof(ext2_inode_large)) return nonsense();
  return ByteReader(bytes).read<ext2_inode_large>();
}

Result<std::vector<DiskReader::Name>> DiskReader::names(ext2_ino_t number) {
  LB_ASSIGN(const auto bytes,
            ask({.what = DiskRequest::kNames, .inode = number}, kMaxDiskReplyBytes + PATH_MAX));
  std::vector<Name> names;
  ByteReader reader(bytes);
  while (reader.ok() && !reader.rest().empty()) {
    const auto head = reader.read<DiskName>();
    names.push_back({head.inode, head.type, std::string(as_text(reader.take(head.name_bytes)))});
  }
  if (!reader.ok()) return nonsense();
  return names;
}

Result<std::vector<std::pair<std::string, std::string>>> DiskReader::xattrs(ext2_ino_t number) {
  LB_ASSIGN(const auto bytes, ask({.what = DiskRequest::kXattrs, .inode = number}, kMaxDiskReplyBytes));
  std::vector<std::pair<std::string, std::string>> xattrs;
  ByteReader reader(bytes);
  while (reader.ok() && !reader.rest().empty()) {
    const auto head = reader.read<DiskXattr>();
    std::string name(as_text(reader.take(head.name_bytes)));
    xattrs.emplace_back(std::move(name), as_text(reader.take(head.value_bytes)));
  }
  if (!reader.ok()) return nonsense();
  return xattrs;
}

Result<std::string> DiskReader::target(ext2_ino_t number) {
  LB_ASSIGN(const auto bytes, ask({.what = DiskRequest::kTarget, .inode = number}, PATH_MAX));
  return std::string(as_text(bytes));
}

Result<std::size_t> DiskReader::read(ext2_ino_t number, std::uint64_t offset, std::span<std::byte> into) {
  std::size_t done = 0;
  while (done < into.size()) {
    const auto wanted = std::min<std::uint64_t>(into.size() - done, kMaxDiskReadBytes);
    LB_ASSIGN(
        const auto bytes,
        ask({.what = DiskRequest::kRead, .inode = number, .offset = offset + done, .size = wanted}, wanted));
    std::ranges::copy(bytes, into.begin() + static_cast<std::ptrdiff_t>(done));
    done += bytes.size();
    if (bytes.size() < wanted) break;
  }
  return done;
}

Result<std::vector<std::byte>> DiskReader::ask(const DiskRequest& request, std::uint64_t most,
                                               std::string_view more) {
  if (!gone_.empty()) return broken_down();
  const std::string message = str_cat(as_text(object_bytes(request)), more);
  const ssize_t put = ::send(child_.socket(), message.data(), message.size(), MSG_NOSIGNAL);
  // One that has gone may have said why.
  if (put < 0 && errno != EPIPE) return errno_error("a message to the process that reads the disk");
  DiskReply reply;
  LB_TRY(receive(std::as_writable_bytes(std::span(&reply, 1))));
  if (reply.error > kMaxErrno || reply.size > (reply.error == 0 ? most : kMaxErrorBytes)) return nonsense();
  std::vector<std::byte> bytes(reply.size);
  LB_TRY(receive(bytes));
  if (reply.error != 0) return fail(static_cast<int>(reply.error), printable_lines(as_text(bytes)));
  return bytes;
}

Result<void> DiskReader::receive(std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = ::recv(child_.socket(), into.data(), into.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return fallen_silent();
    if (got <= 0) return broken_down();
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

std::unexpected<Error> DiskReader::fallen_silent() {
  ::kill(child_.pid(), SIGKILL);
  static_cast<void>(child_.await());
  gone_ = str_cat("has said nothing for ", kMaxDiskSilenceSeconds, " s");
  return broken_down();
}

std::unexpected<Error> DiskReader::broken_down() {
  if (gone_.empty()) {
    const auto end = child_.await();
    gone_ =
        end.cpu_seconds + 1 >= kMaxDiskCpuSeconds
            ? str_cat("took more than ", kMaxDiskCpuSeconds, " s of processor time, the limit for one disk")
            : how_it_broke_down(end);
  }
  return fail(EIO, "the process that reads the disk ", gone_);
}

}  // namespace layerboot::mount
