// A split virtqueue as it lies in guest memory: Virtual I/O Device 1.2, sections 2.7.5 to 2.7.8.
//
// <linux/virtio_ring.h> says the same, but is not C++.
#pragma once

#include <cstddef>
#include <cstdint>

namespace layerboot::vfsd::vhost {

struct Descriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;
};
static_assert(sizeof(Descriptor) == 16 && alignof(Descriptor) <= 16);

inline constexpr std::uint16_t kDescriptorNext = 1;
inline constexpr std::uint16_t kDescriptorWrite = 2;
inline constexpr std::uint16_t kDescriptorIndirect = 4;

struct UsedElement {
  std::uint32_t id;
  std::uint32_t length;
};
static_assert(sizeof(UsedElement) == 8);

inline constexpr std::uint16_t kUsedNoNotify = 1;      // in the used ring's flags
inline constexpr std::uint16_t kAvailNoInterrupt = 1;  // in the available ring's flags

// Both rings: flags, index, elements, and at the end the event index that the other side reads.
inline constexpr std::size_t kRingFlagsOffset = 0;
inline constexpr std::size_t kRingIndexOffset = 2;
inline constexpr std::size_t kRingElementsOffset = 4;

constexpr std::size_t used_event_offset(std::size_t queue_size) {
  return kRingElementsOffset + queue_size * sizeof(std::uint16_t);
}
constexpr std::size_t avail_event_offset(std::size_t queue_size) {
  return kRingElementsOffset + queue_size * sizeof(UsedElement);
}
constexpr std::size_t descriptors_bytes(std::size_t queue_size) { return queue_size * sizeof(Descriptor); }
constexpr std::size_t available_bytes(std::size_t queue_size) { return used_event_offset(queue_size) + 2; }
constexpr std::size_t used_bytes(std::size_t queue_size) { return avail_event_offset(queue_size) + 2; }

/// Whether going from `before` to `now` passes `event`: the one rule of EVENT_IDX, for both sides.
constexpr bool passes_event(std::uint16_t event, std::uint16_t now, std::uint16_t before) {
  return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - before);
}

}  // namespace layerboot::vfsd::vhost
