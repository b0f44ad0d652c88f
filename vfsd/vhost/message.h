// The vhost-user protocol's numbers and structures.
//
// Follows docs/interop/vhost-user.rst of QEMU 10.0; the structures are packed and in the host's byte order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::vfsd::vhost {

enum class Request : std::uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kResetDevice = 34,
  kGetMaxMemSlots = 36,
  kAddMemReg = 37,
  kRemMemReg = 38,
};

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kVersionMask = 3;
inline constexpr std::uint32_t kFlagReply = 1U << 2;
inline constexpr std::uint32_t kFlagNeedReply = 1U << 3;

// Virtio feature bits.
inline constexpr std::uint64_t kFeatureIndirect = 1ULL << 28;
inline constexpr std::uint64_t kFeatureEventIdx = 1ULL << 29;
inline constexpr std::uint64_t kFeatureProtocolFeatures = 1ULL << 30;
inline constexpr std::uint64_t kFeatureVersion1 = 1ULL << 32;

// Protocol feature bits.
inline constexpr std::uint64_t kProtocolMq = 1ULL << 0;
inline constexpr std::uint64_t kProtocolReplyAck = 1ULL << 3;
inline constexpr std::uint64_t kProtocolResetDevice = 1ULL << 13;
inline constexpr std::uint64_t kProtocolConfigureMemSlots = 1ULL << 15;

/// In the u64 of SET_VRING_KICK, CALL and ERR.
inline constexpr std::uint64_t kVringIndexMask = 0xff;
inline constexpr std::uint64_t kVringNoFd = 1ULL << 8;

/// Regions in one SET_MEM_TABLE, which is also the most descriptors a message carries.
inline constexpr std::size_t kMaxMessageFds = 8;
/// No message that this back end knows is longer; a longer one ends the connection.
inline constexpr std::size_t kMaxPayloadBytes = 4096;

struct Header {
  std::uint32_t request;
  std::uint32_t flags;
  std::uint32_t size_bytes;
};
static_assert(sizeof(Header) == 12);

struct VringState {
  std::uint32_t index;
  std::uint32_t value;
};
static_assert(sizeof(VringState) == 8);

struct VringAddresses {
  std::uint32_t index;
  std::uint32_t flags;
  std::uint64_t descriptors;  // these four are addresses of the front end's process
  std::uint64_t used;
  std::uint64_t available;
  std::uint64_t log;
};
static_assert(sizeof(VringAddresses) == 40);

struct MemoryRegion {
  std::uint64_t guest_address;
  std::uint64_t size_bytes;
  std::uint64_t user_address;
  std::uint64_t fd_offset;
};
static_assert(sizeof(MemoryRegion) == 32);

struct MemoryTableHead {
  std::uint32_t region_count;
  std::uint32_t padding;
};
static_assert(sizeof(MemoryTableHead) == 8);

/// ADD_MEM_REG and REM_MEM_REG.
struct SingleMemoryRegion {
  std::uint64_t padding;
  MemoryRegion region;
};
static_assert(sizeof(SingleMemoryRegion) == 40);

/// One message as it came, with the descriptors that came along.
struct Message {
  Header header{};
  std::vector<std::byte> payload;
  std::vector<UniqueFd> fds;
};

}  // namespace layerboot::vfsd::vhost
