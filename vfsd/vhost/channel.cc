#include "vfsd/vhost/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "oci-mount/base/bytes.h"

namespace layerboot::vfsd::vhost {

namespace {

/// A front end that does not take a reply for so long is as good as gone.
constexpr int kReplyPatienceMilliseconds = 5000;

}  // namespace

Result<Channel> Channel::adopt(UniqueFd socket) {
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
    return errno_error("the vhost-user connection");
  }
  return Channel(std::move(socket));
}

Result<std::size_t> Channel::read_some(std::byte* into, std::size_t size_bytes) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxMessageFds)> control{};
  iovec slice{into, size_bytes};
  msghdr header{};
  header.msg_iov = &slice;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t count = 0;
  do {
    count = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
  if (count < 0) return errno_error("reading from the vhost-user front end");
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t fd_count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < fd_count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      incoming_.fds.emplace_back(fd);
    }
  }
  if (count == 0) return fail(ENOTCONN, "the vhost-user front end has closed the connection");
  if ((header.msg_flags & MSG_CTRUNC) != 0 || incoming_.fds.size() > kMaxMessageFds) {
    return fail(EPROTO, "the vhost-user front end sent more than ", kMaxMessageFds, " descriptors at once");
  }
  return static_cast<std::size_t>(count);
}

Result<void> Channel::check_header() {
  const Header& header = incoming_.header;
  if ((header.flags & kVersionMask) != kVersion) {
    return fail(EPROTO, "the front end does not speak vhost-user version 1 (flags ", header.flags, ")");
  }
  if (header.size_bytes > kMaxPayloadBytes) {
    return fail(EPROTO, "vhost-user message ", header.request, " is too long: ", header.size_bytes, " bytes");
  }
  incoming_.payload.resize(header.size_bytes);
  return {};
}

Result<std::optional<Message>> Channel::receive() {
  while (received_bytes_ < sizeof(Header)) {
    auto* head = reinterpret_cast<std::byte*>(&incoming_.header);
    LB_ASSIGN(const std::size_t count, read_some(head + received_bytes_, sizeof(Header) - received_bytes_));
    if (count == 0) return std::nullopt;
    received_bytes_ += count;
    if (received_bytes_ == sizeof(Header)) LB_TRY(check_header());
  }
  while (received_bytes_ < sizeof(Header) + incoming_.payload.size()) {
    const std::size_t have = received_bytes_ - sizeof(Header);
    LB_ASSIGN(const std::size_t count,
              read_some(incoming_.payload.data() + have, incoming_.payload.size() - have));
    if (count == 0) return std::nullopt;
    received_bytes_ += count;
  }
  received_bytes_ = 0;
  return std::exchange(incoming_, Message{});
}

Result<void> Channel::reply(const Header& request, std::span<const std::byte> payload) {
  const Header header{request.request, kVersion | kFlagReply, static_cast<std::uint32_t>(payload.size())};
  std::vector<std::byte> bytes;
  bytes.reserve(sizeof(header) + payload.size());
  const auto head = object_bytes(header);
  bytes.insert(bytes.end(), head.begin(), head.end());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  std::span<const std::byte> rest(bytes);
  while (!rest.empty()) {
    const ssize_t count = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      rest = rest.subspan(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd writable{socket_.get(), POLLOUT, 0};
      if (::poll(&writable, 1, kReplyPatienceMilliseconds) == 0) {
        return fail(ETIMEDOUT, "the vhost-user front end does not read its replies");
      }
    } else if (errno != EINTR) {
      return errno_error("replying to the vhost-user front end");
    }
  }
  return {};
}

}  // namespace layerboot::vfsd::vhost
