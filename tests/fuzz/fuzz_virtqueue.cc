// Any bytes as a guest's memory with a split virtqueue in it. The device must end, inside that memory.
//
// Input: 512 bytes of rings for a queue of 8, and what lies behind them.
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "oci-mount/base/io_slices.h"
#include "vfsd/vhost/virtqueue.h"

namespace {

constexpr std::size_t kMemoryBytes = 64 << 10;
constexpr std::uint32_t kQueueSize = 8;
constexpr std::uint64_t kAvailable = 128;
constexpr std::uint64_t kUsed = 192;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerboot;
  using namespace layerboot::vfsd::vhost;
  static const auto memory = [] {
    UniqueFd fd(::memfd_create("fuzz", MFD_CLOEXEC));
    if (::ftruncate(fd.get(), kMemoryBytes) != 0) std::abort();
    return *GuestMemory().with({0, kMemoryBytes, 0, 0}, std::move(fd));
  }();
  std::byte* bytes = memory->contiguous(0, kMemoryBytes);
  std::memset(bytes, 0, kMemoryBytes);
  std::memcpy(bytes, data, std::min(size, kMemoryBytes));
  const auto rings = Rings::locate(memory, kQueueSize, 0, kAvailable, kUsed);
  if (!rings) std::abort();
  for (const bool event_idx : {false, true}) {
    Virtqueue queue(*rings, event_idx, 0);
    Chain chain;
    Error why;
    for (unsigned i = 0; i < 2 * kQueueSize; ++i) {
      const auto popped = queue.pop(chain, &why);
      if (!popped || *popped == Virtqueue::Pop::kEmpty) break;
      if (*popped == Virtqueue::Pop::kChain) {
        for (const auto* list : {&chain.readable, &chain.writable}) {
          if (list->size() > kMaxChainDescriptors) std::abort();
          for (const auto& slice : *list) {
            const auto* begin = static_cast<const std::byte*>(slice.iov_base);
            if (begin < bytes || slice.iov_len > static_cast<std::size_t>(bytes + kMemoryBytes - begin))
              std::abort();
          }
        }
      }
      queue.push(chain.head, 0);
      (void)queue.publish();
      (void)queue.enable_kicks();
    }
  }
  return 0;
}
