#include "vfsd/vhost/backend.h"

#include <cstring>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/log.h"

namespace layerboot::vfsd::vhost {

namespace {

constexpr std::uint64_t kFeatures =
    kFeatureVersion1 | kFeatureIndirect | kFeatureEventIdx | kFeatureProtocolFeatures;
/// A front end that migrates sets this at run time; without LOG_SHMFD it never has a log to write to.
constexpr std::uint64_t kFeatureLogAll = 1ULL << 26;
constexpr std::uint64_t kProtocolFeatures =
    kProtocolMq | kProtocolReplyAck | kProtocolResetDevice | kProtocolConfigureMemSlots;

template <typename T>
std::vector<std::byte> to_payload(const T& value) {
  const auto bytes = object_bytes(value);
  return {bytes.begin(), bytes.end()};
}

template <typename T>
Result<T> from_payload(const Message& message) {
  T value{};
  if (message.payload.size() != sizeof(T)) {
    return fail(EINVAL, "a payload of ", message.payload.size(), " bytes instead of ", sizeof(T));
  }
  std::memcpy(&value, message.payload.data(), sizeof(T));
  return value;
}

}  // namespace

std::optional<std::vector<std::byte>> Backend::handle(Message message) {
  const bool wants_ack =
      (message.header.flags & kFlagNeedReply) != 0 && (protocol_features_ & kProtocolReplyAck) != 0;
  const auto request = message.header.request;
  log_debug("vhost-user message ", request);
  auto outcome = dispatch(message);
  if (!outcome) {
    log_warn("vhost-user message ", request, " refused: ", outcome.error().describe());
    // GET_VRING_BASE has a reply in any case, or the front end would wait for ever.
    if (request == static_cast<std::uint32_t>(Request::kGetVringBase)) return to_payload(VringState{});
    if (wants_ack) return to_payload(std::uint64_t{1});
    return std::nullopt;
  }
  if (outcome->has_value()) return *std::move(outcome);
  if (wants_ack) return to_payload(std::uint64_t{0});
  return std::nullopt;
}

Result<std::optional<Backend::Payload>> Backend::dispatch(Message& message) {
  const auto request = static_cast<Request>(message.header.request);
  const auto nothing = [](Result<void> result) -> Result<std::optional<Payload>> {
    if (!result) return std::unexpected(std::move(result).error());
    return std::nullopt;
  };
  switch (request) {
    case Request::kGetFeatures:
      return to_payload(kFeatures);
    case Request::kGetProtocolFeatures:
      return to_payload(kProtocolFeatures);
    case Request::kGetQueueNum:
      return to_payload(static_cast<std::uint64_t>(vrings_.size()));
    case Request::kGetMaxMemSlots:
      return to_payload(static_cast<std::uint64_t>(GuestMemory::kMaxRegions));
    case Request::kSetOwner:
      return std::nullopt;
    case Request::kResetOwner:
    case Request::kResetDevice:
      reset_device();
      return std::nullopt;
    case Request::kSetMemTable:
      return nothing(set_memory_table(message));
    case Request::kAddMemReg:
      return nothing(change_memory(message, true));
    case Request::kRemMemReg:
      return nothing(change_memory(message, false));
    case Request::kSetVringKick:
    case Request::kSetVringCall:
    case Request::kSetVringErr:
      return nothing(set_vring_fd(message, request));
    case Request::kSetVringAddr: {
      LB_ASSIGN(const auto addresses, from_payload<VringAddresses>(message));
      return nothing(set_vring_addresses(addresses));
    }
    case Request::kSetFeatures:
    case Request::kSetProtocolFeatures: {
      LB_ASSIGN(const auto bits, from_payload<std::uint64_t>(message));
      if (request == Request::kSetFeatures) return nothing(set_features(bits));
      if ((bits & ~kProtocolFeatures) != 0)
        return fail(EINVAL, "protocol features that were not offered: ", bits);
      protocol_features_ = bits;
      return std::nullopt;
    }
    case Request::kSetVringNum:
    case Request::kSetVringBase:
    case Request::kGetVringBase:
    case Request::kSetVringEnable: {
      LB_ASSIGN(const auto state, from_payload<VringState>(message));
      if (request == Request::kSetVringNum) return nothing(set_vring_size(state));
      if (request == Request::kSetVringBase) return nothing(set_vring_base(state));
      if (request == Request::kSetVringEnable) return nothing(set_vring_enabled(state));
      LB_ASSIGN(const auto base, get_vring_base(state));
      return to_payload(base);
    }
  }
  return fail(EOPNOTSUPP, "not a request that this back end knows");
}

Result<void> Backend::set_features(std::uint64_t features) {
  if ((features & ~(kFeatures | kFeatureLogAll)) != 0) {
    return fail(EINVAL, "features that were not offered: ", features & ~kFeatures);
  }
  // Comes again at run time, with LOG_ALL switched: running rings must not notice.
  features_ = features;
  if ((features & kFeatureProtocolFeatures) == 0) {
    for (auto& vring : vrings_) vring.enabled = true;
  }
  return {};
}

Result<void> Backend::set_memory_table(Message& message) {
  ByteReader reader(message.payload);
  const auto head = reader.read<MemoryTableHead>();
  if (!reader.ok() || head.region_count > kMaxMessageFds || head.region_count != message.fds.size()) {
    return fail(EINVAL, "a memory table of ", head.region_count, " regions with ", message.fds.size(),
                " descriptors");
  }
  std::shared_ptr<const GuestMemory> memory = std::make_shared<GuestMemory>();
  for (std::uint32_t i = 0; i < head.region_count; ++i) {
    const auto region = reader.read<MemoryRegion>();
    if (!reader.ok()) return fail(EINVAL, "a memory table that is cut short");
    LB_ASSIGN(memory, memory->with(region, std::move(message.fds[i])));
  }
  return adopt_memory(std::move(memory));
}

Result<void> Backend::change_memory(Message& message, bool add) {
  LB_ASSIGN(const auto single, from_payload<SingleMemoryRegion>(message));
  if (!add) {
    // Some front ends send a descriptor along; it is closed unused, with the message.
    LB_ASSIGN(auto memory, memory_->without(single.region));
    return adopt_memory(std::move(memory));
  }
  if (message.fds.size() != 1)
    return fail(EINVAL, "a memory region with ", message.fds.size(), " descriptors");
  LB_ASSIGN(auto memory, memory_->with(single.region, std::move(message.fds[0])));
  return adopt_memory(std::move(memory));
}

Result<void> Backend::adopt_memory(std::shared_ptr<const GuestMemory> memory) {
  memory_ = std::move(memory);
  Result<void> outcome;
  for (auto& vring : vrings_) {
    if (!vring.running) continue;
    auto rings = locate(vring);
    if (rings) {
      host_.move_to(index_of(vring), std::move(*rings));
    } else {
      stop(vring);
      outcome = while_doing(std::move(rings).error(), "queue ", index_of(vring),
                            " lost its memory and was stopped");
    }
  }
  return outcome;
}

Result<Backend::Vring*> Backend::vring_at(std::uint32_t index) {
  if (index >= vrings_.size()) {
    return fail(EINVAL, "queue ", index, " of ", vrings_.size(),
                ": start vfsd with more --request-queues, or the VM with fewer");
  }
  return &vrings_[index];
}

Result<void> Backend::set_vring_size(const VringState& state) {
  LB_ASSIGN(Vring * vring, vring_at(state.index));
  if (vring->running) return fail(EBUSY, "queue ", state.index, " is running");
  vring->size = state.value;
  return {};
}

Result<void> Backend::set_vring_addresses(const VringAddresses& addresses) {
  LB_ASSIGN(Vring * vring, vring_at(addresses.index));
  vring->descriptors = addresses.descriptors;
  vring->available = addresses.available;
  vring->used = addresses.used;
  vring->has_addresses = true;
  if (!vring->running) return {};
  LB_ASSIGN(auto rings, locate(*vring));
  host_.move_to(addresses.index, std::move(rings));
  return {};
}

Result<void> Backend::set_vring_base(const VringState& state) {
  LB_ASSIGN(Vring * vring, vring_at(state.index));
  if (vring->running) return fail(EBUSY, "queue ", state.index, " is running");
  if (state.value > UINT16_MAX) return fail(EINVAL, "queue ", state.index, " can't start at ", state.value);
  vring->next_available = static_cast<std::uint16_t>(state.value);
  return {};
}

Result<VringState> Backend::get_vring_base(const VringState& state) {
  LB_ASSIGN(Vring * vring, vring_at(state.index));
  stop(*vring);
  vring->kick.reset();
  return VringState{state.index, vring->next_available};
}

Result<void> Backend::set_vring_fd(Message& message, Request request) {
  LB_ASSIGN(const auto value, from_payload<std::uint64_t>(message));
  LB_ASSIGN(Vring * vring, vring_at(static_cast<std::uint32_t>(value & kVringIndexMask)));
  const bool no_fd = (value & kVringNoFd) != 0;
  if (message.fds.size() != (no_fd ? 0U : 1U)) {
    return fail(EINVAL, "a queue's event with ", message.fds.size(), " descriptors");
  }
  UniqueFd fd = no_fd ? UniqueFd() : std::move(message.fds[0]);
  // The error eventfd is taken and closed: there is nothing to say that the log does not.
  if (request == Request::kSetVringErr) return {};
  if (request == Request::kSetVringCall) {
    host_.set_call(index_of(*vring), std::move(fd));
    return {};
  }
  if (no_fd) return fail(EOPNOTSUPP, "a queue without kicks would have to be polled");
  stop(*vring);
  vring->kick = std::move(fd);
  return start_if_ready(*vring);
}

Result<void> Backend::set_vring_enabled(const VringState& state) {
  LB_ASSIGN(Vring * vring, vring_at(state.index));
  vring->enabled = state.value != 0;
  if (vring->enabled) return start_if_ready(*vring);
  stop(*vring);
  return {};
}

Result<Rings> Backend::locate(const Vring& vring) const {
  return Rings::locate(memory_, vring.size, vring.descriptors, vring.available, vring.used);
}

Result<void> Backend::start_if_ready(Vring& vring) {
  if (vring.running || !vring.enabled || !vring.kick || !vring.has_addresses) return {};
  LB_ASSIGN(auto rings, locate(vring));
  const bool event_idx = (features_ & kFeatureEventIdx) != 0;
  vring.running = true;
  host_.start(index_of(vring), std::move(rings), event_idx, vring.next_available, vring.kick.get());
  return {};
}

void Backend::stop(Vring& vring) {
  if (!vring.running) return;
  vring.next_available = host_.stop(index_of(vring));
  vring.running = false;
}

void Backend::reset_device() {
  for (auto& vring : vrings_) {
    stop(vring);
    vring = Vring{};
  }
  features_ = 0;
}

void Backend::disconnect() {
  reset_device();
  for (auto& vring : vrings_) host_.set_call(index_of(vring), UniqueFd());
  protocol_features_ = 0;
  memory_ = std::make_shared<GuestMemory>();
}

}  // namespace layerboot::vfsd::vhost
