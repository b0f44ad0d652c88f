// Any bytes as vhost-user messages, in sequence, to one back end, with memory and events as descriptors.
//
// Input: for each message one byte of request, one of flags and descriptor count, one of length, and the
// payload.
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/log.h"
#include "vfsd/vhost/backend.h"

namespace layerboot::vfsd::vhost {
namespace {

constexpr std::size_t kMaxMessages = 64;
constexpr std::size_t kMemoryBytes = 64 << 10;

/// Keeps what it is told apart, and touches the rings that it is given.
struct FuzzHost final : QueueHost {
  [[nodiscard]] unsigned queue_count() const override { return 2; }
  void start(unsigned index, Rings rings, bool event_idx, std::uint16_t next, int kick_fd) override {
    if (index >= 2 || running[index] || kick_fd < 0) std::abort();
    running[index] = true;
    Virtqueue queue(std::move(rings), event_idx, next);
    Chain chain;
    Error why;
    (void)queue.pop(chain, &why);
    queue.push(0, 0);
    (void)queue.publish();
    (void)queue.enable_kicks();
  }
  std::uint16_t stop(unsigned index) override {
    if (index >= 2 || !running[index]) std::abort();
    running[index] = false;
    return 0;
  }
  void move_to(unsigned index, Rings) override {
    if (index >= 2 || !running[index]) std::abort();
  }
  void set_call(unsigned index, UniqueFd) override {
    if (index >= 2) std::abort();
  }
  bool running[2] = {false, false};
};

}  // namespace
}  // namespace layerboot::vfsd::vhost

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerboot;
  using namespace layerboot::vfsd::vhost;
  log_setup("fuzz", LogLevel::kError);
  static const UniqueFd memory = [] {
    UniqueFd fd(::memfd_create("fuzz", MFD_CLOEXEC));
    if (::ftruncate(fd.get(), kMemoryBytes) != 0) std::abort();
    return fd;
  }();
  FuzzHost host;
  Backend backend(host);
  ByteReader input({reinterpret_cast<const std::byte*>(data), size});
  for (std::size_t i = 0; i < kMaxMessages && !input.rest().empty(); ++i) {
    Message message;
    message.header.request = input.read<std::uint8_t>();
    const auto bits = input.read<std::uint8_t>();
    message.header.flags = kVersion | ((bits & 1) != 0 ? kFlagNeedReply : 0);
    const auto payload = input.take(std::min<std::size_t>(input.read<std::uint8_t>(), input.rest().size()));
    message.payload.assign(payload.begin(), payload.end());
    message.header.size_bytes = static_cast<std::uint32_t>(payload.size());
    for (unsigned fd = 0; fd < (bits >> 1U) % 4U; ++fd) {
      const bool is_memory = message.header.request == 5 || message.header.request == 37;
      message.fds.emplace_back(is_memory ? ::dup(memory.get()) : ::eventfd(0, EFD_CLOEXEC));
    }
    (void)backend.handle(std::move(message));
  }
  backend.disconnect();
  if (host.running[0] || host.running[1]) std::abort();
  return 0;
}
