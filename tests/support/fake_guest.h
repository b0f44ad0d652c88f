// FakeGuest: plays QEMU (a vhost-user front end) and the guest's driver, for any vhost-user-fs back end.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "oci-mount/base/mapping.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/support/fake_guest_queue.h"
#include "vfsd/vhost/message.h"

namespace layerboot::test {

struct FakeGuestOptions {
  unsigned request_queues = 1;
  std::uint16_t queue_size = 128;
  std::size_t queue_memory_bytes = 8U << 20;
  bool event_idx = true;
  bool indirect = true;
  bool memory_slots = true;  // ADD_MEM_REG, as QEMU does if it may; else SET_MEM_TABLE
  bool two_regions = false;  // the guest's memory is cut in the middle of each queue's zone
};

/// One connection. The front end's part belongs to one thread; each queue to one thread.
class FakeGuest {
 public:
  static Result<std::unique_ptr<FakeGuest>> connect(const std::filesystem::path& socket,
                                                    FakeGuestOptions options);
  /// Takes a connected socket.
  static Result<std::unique_ptr<FakeGuest>> adopt(UniqueFd socket, FakeGuestOptions options);

  // ---- what QEMU does, in the order in which 7.2 does it ----------------------------------------
  /// At realize: features, protocol features, queue count, owner.
  Result<void> negotiate();
  /// At DRIVER_OK: memory, rings, events. The rings are empty again, as after a boot.
  Result<void> start();
  /// At a stop or reset; gives the next available index of each queue.
  Result<std::vector<std::uint16_t>> stop();
  /// negotiate() and start().
  Result<void> boot();

  // ---- one message ------------------------------------------------------------------------------
  Result<void> send(vfsd::vhost::Request request, std::span<const std::byte> payload,
                    std::span<const int> fds = {}, bool need_reply = false);
  Result<std::vector<std::byte>> receive_reply(vfsd::vhost::Request request);
  /// Sends with need_reply and gives the answer: 0 is success.
  Result<std::uint64_t> send_acked(vfsd::vhost::Request request, std::span<const std::byte> payload,
                                   std::span<const int> fds = {});
  Result<std::uint64_t> get_u64(vfsd::vhost::Request request);
  Result<std::uint16_t> get_vring_base(unsigned queue);
  /// A new call eventfd for a running queue; nullopt sends none (VIRTIO_NO_VECTOR). The old one is closed.
  Result<void> replace_call(unsigned queue, bool with_fd);

  [[nodiscard]] FakeQueue& queue(unsigned index) { return *queues_.at(index); }
  [[nodiscard]] unsigned queue_count() const { return static_cast<unsigned>(queues_.size()); }
  [[nodiscard]] std::uint64_t protocol_features() const { return protocol_features_; }
  [[nodiscard]] std::vector<vfsd::vhost::MemoryRegion> regions() const;
  [[nodiscard]] int memory_fd() const { return memory_fd_.get(); }
  [[nodiscard]] int socket() const { return socket_.get(); }
  void hang_up() {
    for (const auto& queue : queues_) queue->set_connection(-1);
    socket_.reset();
  }

 private:
  FakeGuest(UniqueFd socket, FakeGuestOptions options) : socket_(std::move(socket)), options_(options) {}
  Result<void> make_memory();
  Result<void> send_memory();
  Result<void> send_events(unsigned index);
  Result<void> start_queue(unsigned index);

  UniqueFd socket_;
  FakeGuestOptions options_;
  UniqueFd memory_fd_;
  Mapping memory_;
  std::vector<std::unique_ptr<FakeQueue>> queues_;
  std::uint64_t protocol_features_ = 0;
  bool has_memory_ = false;
};

}  // namespace layerboot::test
