// Chain: the memory that one request of a split virtqueue names.
//
// Follows Virtual I/O Device 1.2, sections 2.7.4 to 2.7.5.3. The guest writes the descriptors and may change
// them while they are read: each is copied once.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <vector>

#include "oci-mount/base/result.h"
#include "vfsd/vhost/guest_memory.h"
#include "vfsd/vhost/ring_layout.h"

namespace layerboot::vfsd::vhost {

/// Descriptors of one chain, direct and indirect together: 1 MiB in pages, with the headers, is 259. Also
/// the most slices that readv(2) and its like take.
inline constexpr std::size_t kMaxChainDescriptors = 1024;

struct Chain {
  std::uint16_t head = 0;
  std::vector<iovec> readable;
  std::vector<iovec> writable;
};

/// Walks the chain that starts at `head` of `table` (the queue's own descriptor table, as long as the queue).
/// Neighbouring buffers become one slice. `chain` is reused: its vectors keep their room.
/// An Error (EPROTO) for an index out of the table, a loop or a chain of more than kMaxChainDescriptors, an
/// empty buffer, memory that is nowhere, a readable buffer after a writable one, an indirect table that is
/// empty, uneven, nested or continued.
Result<void> read_chain(const GuestMemory& memory, std::span<const Descriptor> table, std::uint16_t head,
                        Chain& chain);

}  // namespace layerboot::vfsd::vhost
