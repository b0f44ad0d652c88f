#include "tests/support/fake_guest.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "oci-mount/base/bytes.h"

namespace layerboot::test {

using vfsd::vhost::Header;
using vfsd::vhost::MemoryRegion;
using vfsd::vhost::Request;
using vfsd::vhost::VringAddresses;
using vfsd::vhost::VringState;

namespace {

constexpr std::uint64_t kGuestBase = 0x1000'0000;
constexpr std::uint64_t kUserBase = 0x7f00'0000'0000;  // as if QEMU had mapped it there
constexpr int kPatienceMilliseconds = 30'000;

UniqueFd make_event() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

}  // namespace

Result<std::unique_ptr<FakeGuest>> FakeGuest::connect(const std::filesystem::path& socket,
                                                      FakeGuestOptions options) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.native().size() >= sizeof(address.sun_path)) return fail(ENAMETOOLONG, socket.native());
  std::memcpy(address.sun_path, socket.c_str(), socket.native().size());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    return errno_error("connecting to ", socket.native());
  }
  return adopt(std::move(fd), options);
}

Result<std::unique_ptr<FakeGuest>> FakeGuest::adopt(UniqueFd socket, FakeGuestOptions options) {
  std::unique_ptr<FakeGuest> guest(new FakeGuest(std::move(socket), options));
  LB_TRY(guest->make_memory());
  return guest;
}

Result<void> FakeGuest::make_memory() {
  const std::size_t count = options_.request_queues + 1;
  const std::size_t total_bytes = count * options_.queue_memory_bytes;
  memory_fd_ = UniqueFd(::memfd_create("fake-guest", MFD_CLOEXEC));
  if (!memory_fd_ || ::ftruncate(memory_fd_.get(), static_cast<off_t>(total_bytes)) < 0) {
    return errno_error("the fake guest's memory");
  }
  LB_ASSIGN(memory_, Mapping::shared(memory_fd_.get(), 0, total_bytes));
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t offset = i * options_.queue_memory_bytes;
    queues_.push_back(std::make_unique<FakeQueue>(
        std::span(memory_.data() + offset, options_.queue_memory_bytes), kGuestBase + offset,
        options_.queue_size, options_.event_idx, options_.indirect));
  }
  return {};
}

std::vector<MemoryRegion> FakeGuest::regions() const {
  std::vector<MemoryRegion> regions;
  if (!options_.two_regions) {
    regions.push_back({kGuestBase, memory_.size_bytes(), kUserBase, 0});
    return regions;
  }
  // Cut where requests lie; adjacent for the guest, far apart for the front end.
  const std::uint64_t cut = options_.queue_memory_bytes + options_.queue_memory_bytes / 16;
  regions.push_back({kGuestBase, cut, kUserBase, 0});
  regions.push_back({kGuestBase + cut, memory_.size_bytes() - cut, 2 * kUserBase, cut});
  return regions;
}

Result<void> FakeGuest::send(Request request, std::span<const std::byte> payload, std::span<const int> fds,
                             bool need_reply) {
  Header header{static_cast<std::uint32_t>(request), vfsd::vhost::kVersion,
                static_cast<std::uint32_t>(payload.size())};
  if (need_reply) header.flags |= vfsd::vhost::kFlagNeedReply;
  std::array<iovec, 2> slices{iovec{&header, sizeof(header)},
                              iovec{const_cast<std::byte*>(payload.data()), payload.size()}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 16)> control{};
  msghdr message{};
  message.msg_iov = slices.data();
  message.msg_iovlen = slices.size();
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
  }
  if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) < 0) return errno_error("sending to the back end");
  return {};
}

Result<std::vector<std::byte>> FakeGuest::receive_reply(Request request) {
  const auto receive = [&](std::span<std::byte> into) -> Result<void> {
    while (!into.empty()) {
      pollfd readable{socket_.get(), POLLIN, 0};
      if (::poll(&readable, 1, kPatienceMilliseconds) == 0)
        return fail(ETIMEDOUT, "the back end does not answer");
      const ssize_t count = ::recv(socket_.get(), into.data(), into.size(), 0);
      if (count < 0) return errno_error("reading from the back end");
      if (count == 0) return fail(ENOTCONN, "the back end has closed the connection");
      into = into.subspan(static_cast<std::size_t>(count));
    }
    return {};
  };
  Header header{};
  LB_TRY(receive({reinterpret_cast<std::byte*>(&header), sizeof(header)}));
  if (header.request != static_cast<std::uint32_t>(request) ||
      header.flags != (vfsd::vhost::kVersion | vfsd::vhost::kFlagReply) ||
      header.size_bytes > vfsd::vhost::kMaxPayloadBytes) {
    return fail(EBADMSG, "a reply to ", header.request, " instead of ", static_cast<std::uint32_t>(request));
  }
  std::vector<std::byte> payload(header.size_bytes);
  LB_TRY(receive(payload));
  return payload;
}

Result<std::uint64_t> FakeGuest::send_acked(Request request, std::span<const std::byte> payload,
                                            std::span<const int> fds) {
  LB_TRY(send(request, payload, fds, true));
  LB_ASSIGN(const auto reply, receive_reply(request));
  return ByteReader(reply).read<std::uint64_t>();
}

Result<std::uint64_t> FakeGuest::get_u64(Request request) {
  LB_TRY(send(request, {}));
  LB_ASSIGN(const auto reply, receive_reply(request));
  if (reply.size() != sizeof(std::uint64_t)) return fail(EBADMSG, "a reply of ", reply.size(), " bytes");
  return ByteReader(reply).read<std::uint64_t>();
}

Result<void> FakeGuest::negotiate() {
  LB_ASSIGN(const auto offered, get_u64(Request::kGetFeatures));
  if ((offered & vfsd::vhost::kFeatureProtocolFeatures) == 0) return fail(EPROTO, "no protocol features");
  LB_ASSIGN(protocol_features_, get_u64(Request::kGetProtocolFeatures));
  protocol_features_ &= vfsd::vhost::kProtocolMq | vfsd::vhost::kProtocolReplyAck |
                        vfsd::vhost::kProtocolResetDevice | vfsd::vhost::kProtocolConfigureMemSlots;
  LB_TRY(send(Request::kSetProtocolFeatures, object_bytes(protocol_features_)));
  LB_TRY(get_u64(Request::kGetQueueNum));
  LB_TRY(get_u64(Request::kGetMaxMemSlots));
  LB_TRY(send(Request::kSetOwner, {}));
  for (unsigned i = 0; i < queue_count(); ++i) {
    const UniqueFd masked = make_event();
    const int fd = masked.get();
    const std::uint64_t index = i;
    LB_TRY(send(Request::kSetVringCall, object_bytes(index), {&fd, 1}));
    LB_TRY(send(Request::kSetVringErr, object_bytes(index), {&fd, 1}));
  }
  return {};
}

Result<void> FakeGuest::send_memory() {
  const int fd = memory_fd_.get();
  const auto all = regions();
  if (options_.memory_slots) {
    if (std::exchange(has_memory_, true)) return {};
    for (const auto& region : all) {
      const vfsd::vhost::SingleMemoryRegion single{0, region};
      LB_ASSIGN(const auto status, send_acked(Request::kAddMemReg, object_bytes(single), {&fd, 1}));
      if (status != 0) return fail(EPROTO, "the back end refused a memory region");
    }
    return {};
  }
  std::vector<std::byte> table(sizeof(vfsd::vhost::MemoryTableHead) + all.size() * sizeof(MemoryRegion));
  const vfsd::vhost::MemoryTableHead head{static_cast<std::uint32_t>(all.size()), 0};
  std::memcpy(table.data(), &head, sizeof(head));
  std::memcpy(table.data() + sizeof(head), all.data(), all.size() * sizeof(MemoryRegion));
  const std::vector<int> fds(all.size(), fd);
  LB_ASSIGN(const auto status, send_acked(Request::kSetMemTable, table, fds));
  return status == 0 ? Result<void>() : fail(EPROTO, "the back end refused the memory table");
}

Result<void> FakeGuest::start_queue(unsigned index) {
  const FakeQueue& queue = *queues_[index];
  const auto user = [&](std::uint64_t guest_address) {
    for (const auto& region : regions()) {
      if (guest_address - region.guest_address < region.size_bytes) {
        return guest_address - region.guest_address + region.user_address;
      }
    }
    return std::uint64_t{0};
  };
  LB_TRY(send(Request::kSetVringNum, object_bytes(VringState{index, queue.size()})));
  LB_TRY(send(Request::kSetVringBase, object_bytes(VringState{index, 0})));
  const VringAddresses addresses{index,
                                 0,
                                 user(queue.descriptors_address()),
                                 user(queue.used_address()),
                                 user(queue.available_address()),
                                 0};
  LB_TRY(send(Request::kSetVringAddr, object_bytes(addresses)));
  const std::uint64_t value = index;
  const int kick = queue.kick_fd();
  return send(Request::kSetVringKick, object_bytes(value), {&kick, 1});
}

Result<void> FakeGuest::start() {
  std::uint64_t features = vfsd::vhost::kFeatureVersion1 | vfsd::vhost::kFeatureProtocolFeatures;
  if (options_.event_idx) features |= vfsd::vhost::kFeatureEventIdx;
  if (options_.indirect) features |= vfsd::vhost::kFeatureIndirect;
  LB_TRY(send(Request::kSetFeatures, object_bytes(features)));
  LB_TRY(send_memory());
  for (unsigned i = 0; i < queue_count(); ++i) {
    queues_[i]->reset();
    queues_[i]->set_events(make_event(), make_event());
    queues_[i]->set_connection(socket_.get());
    LB_TRY(start_queue(i));
  }
  for (unsigned i = 0; i < queue_count(); ++i) {
    LB_TRY(send(Request::kSetVringEnable, object_bytes(VringState{i, 1})));
  }
  for (unsigned i = 0; i < queue_count(); ++i) {
    const std::uint64_t value = i;
    const int call = queues_[i]->call_fd();
    LB_TRY(send(Request::kSetVringCall, object_bytes(value), {&call, 1}));
  }
  return {};
}

Result<void> FakeGuest::boot() {
  LB_TRY(negotiate());
  return start();
}

Result<std::uint16_t> FakeGuest::get_vring_base(unsigned index) {
  LB_TRY(send(Request::kGetVringBase, object_bytes(VringState{index, 0})));
  LB_ASSIGN(const auto reply, receive_reply(Request::kGetVringBase));
  return static_cast<std::uint16_t>(ByteReader(reply).read<VringState>().value);
}

Result<std::vector<std::uint16_t>> FakeGuest::stop() {
  for (unsigned i = 0; i < queue_count(); ++i) {
    LB_TRY(send(Request::kSetVringEnable, object_bytes(VringState{i, 0})));
  }
  std::vector<std::uint16_t> bases;
  for (unsigned i = 0; i < queue_count(); ++i) {
    LB_ASSIGN(const auto base, get_vring_base(i));
    bases.push_back(base);
  }
  return bases;
}

Result<void> FakeGuest::replace_call(unsigned index, bool with_fd) {
  FakeQueue& queue = *queues_[index];
  UniqueFd call = make_event();
  const int fd = call.get();
  const std::uint64_t value = with_fd ? index : index | vfsd::vhost::kVringNoFd;
  UniqueFd kick(::dup(queue.kick_fd()));
  LB_ASSIGN(const auto status, send_acked(Request::kSetVringCall, object_bytes(value),
                                          with_fd ? std::span(&fd, 1) : std::span<const int>()));
  queue.set_events(std::move(kick), std::move(call));
  return status == 0 ? Result<void>() : fail(EPROTO, "the back end refused a call descriptor");
}

}  // namespace layerboot::test
