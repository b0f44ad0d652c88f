// Backend: the vhost-user state machine of one virtio-fs device.
//
// Follows docs/interop/vhost-user.rst of QEMU 10.0; works with QEMU 7.2 to 10 and cloud-hypervisor. What is
// advertised and what is left out on purpose: vfsd/DESIGN.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "vfsd/vhost/guest_memory.h"
#include "vfsd/vhost/message.h"
#include "vfsd/vhost/virtqueue.h"

namespace layerboot::vfsd::vhost {

/// What runs the queues. Every method returns when it has taken effect on the queue's own thread.
class QueueHost {
 public:
  [[nodiscard]] virtual unsigned queue_count() const = 0;
  /// Starts to serve queue `index`. `kick_fd` is lent until stop() returns.
  virtual void start(unsigned index, Rings rings, bool event_idx, std::uint16_t next_available,
                     int kick_fd) = 0;
  /// Stops, having finished what is in flight; gives where the available ring was left. Nothing is written to
  /// the guest's memory for this queue afterwards.
  virtual std::uint16_t stop(unsigned index) = 0;
  /// The same queue, running, through a new memory table.
  virtual void move_to(unsigned index, Rings rings) = 0;
  /// Where to tell the guest of replies; an empty one: nowhere. Works for stopped and running queues.
  virtual void set_call(unsigned index, UniqueFd call_fd) = 0;

 protected:
  ~QueueHost() = default;
};

/// One front end at a time. Not thread-safe: belongs to the thread that reads the socket.
class Backend {
 public:
  explicit Backend(QueueHost& host) : host_(host), vrings_(host.queue_count()) {}

  /// Does what `message` says and gives the payload of the reply, if there is to be one. A request that can't
  /// be done is answered with an error where the front end wants an answer, and logged where not; it never
  /// ends the connection, which only broken framing does.
  std::optional<std::vector<std::byte>> handle(Message message);

  /// The front end is gone: stops every queue and forgets everything.
  void disconnect();

 private:
  struct Vring {
    std::uint32_t size = 0;
    std::uint64_t descriptors = 0;
    std::uint64_t available = 0;
    std::uint64_t used = 0;
    std::uint16_t next_available = 0;
    UniqueFd kick;
    bool has_addresses = false;
    bool enabled = false;
    bool running = false;
  };
  using Payload = std::vector<std::byte>;

  /// Gives the payload of a request that has one, and nothing for one that has not.
  Result<std::optional<Payload>> dispatch(Message& message);
  Result<void> set_features(std::uint64_t features);
  Result<void> set_memory_table(Message& message);
  Result<void> change_memory(Message& message, bool add);
  Result<void> adopt_memory(std::shared_ptr<const GuestMemory> memory);
  Result<void> set_vring_size(const VringState& state);
  Result<void> set_vring_addresses(const VringAddresses& addresses);
  Result<void> set_vring_base(const VringState& state);
  Result<VringState> get_vring_base(const VringState& state);
  Result<void> set_vring_fd(Message& message, Request request);
  Result<void> set_vring_enabled(const VringState& state);
  void reset_device();

  Result<Vring*> vring_at(std::uint32_t index);
  Result<Rings> locate(const Vring& vring) const;
  Result<void> start_if_ready(Vring& vring);
  void stop(Vring& vring);
  [[nodiscard]] unsigned index_of(const Vring& vring) const {
    return static_cast<unsigned>(&vring - vrings_.data());
  }

  QueueHost& host_;
  std::vector<Vring> vrings_;
  std::shared_ptr<const GuestMemory> memory_ = std::make_shared<GuestMemory>();
  std::uint64_t features_ = 0;
  std::uint64_t protocol_features_ = 0;
};

}  // namespace layerboot::vfsd::vhost
