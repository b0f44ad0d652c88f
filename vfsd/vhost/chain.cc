#include "vfsd/vhost/chain.h"

#include <cstring>
#include <string_view>

namespace layerboot::vfsd::vhost {

namespace {

Descriptor copy_once(const Descriptor& shared) {
  Descriptor copy;
  std::memcpy(&copy, &shared, sizeof(copy));
  return copy;
}

std::unexpected<Error> bad_chain(std::uint16_t head, std::string_view what) {
  return fail(EPROTO, "virtqueue chain ", head, ": ", what);
}

/// The indirect table that `descriptor` names.
Result<std::span<const Descriptor>> indirect_table(const GuestMemory& memory, const Descriptor& descriptor,
                                                   std::uint16_t head) {
  const std::size_t count = descriptor.length / sizeof(Descriptor);
  if (count == 0 || descriptor.length % sizeof(Descriptor) != 0 || count > kMaxChainDescriptors) {
    return bad_chain(head, "an indirect table of a bad size");
  }
  const std::byte* bytes = memory.contiguous(descriptor.address, descriptor.length);
  if (bytes == nullptr || reinterpret_cast<std::uintptr_t>(bytes) % alignof(Descriptor) != 0) {
    return bad_chain(head, "an indirect table that is nowhere, or not aligned");
  }
  return std::span(reinterpret_cast<const Descriptor*>(bytes), count);
}

}  // namespace

Result<void> read_chain(const GuestMemory& memory, std::span<const Descriptor> table, std::uint16_t head,
                        Chain& chain) {
  chain.head = head;
  chain.readable.clear();
  chain.writable.clear();
  bool indirect = false;
  std::size_t index = head;
  for (std::size_t seen = 0; seen < kMaxChainDescriptors; ++seen) {
    if (index >= table.size()) return bad_chain(head, "an index beyond its table");
    const Descriptor descriptor = copy_once(table[index]);
    if ((descriptor.flags & kDescriptorIndirect) != 0) {
      if (indirect || (descriptor.flags & kDescriptorNext) != 0) {
        return bad_chain(head, "an indirect table that is nested or continued");
      }
      LB_ASSIGN(table, indirect_table(memory, descriptor, head));
      indirect = true;
      index = 0;
      continue;
    }
    if (descriptor.length == 0) return bad_chain(head, "an empty buffer");
    const bool writable = (descriptor.flags & kDescriptorWrite) != 0;
    if (!writable && !chain.writable.empty())
      return bad_chain(head, "a readable buffer after a writable one");
    auto& slices = writable ? chain.writable : chain.readable;
    if (!memory.translate(descriptor.address, descriptor.length, slices)) {
      return bad_chain(head, "a buffer outside the guest's memory");
    }
    if ((descriptor.flags & kDescriptorNext) == 0) return {};
    index = descriptor.next;
  }
  return bad_chain(head, "a loop, or too many buffers");
}

}  // namespace layerboot::vfsd::vhost
