// A queue and its memory in one process: the driver's side by FakeQueue, the device's by what is tested.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <memory>

#include "tests/support/fake_guest_queue.h"
#include "vfsd/vhost/virtqueue.h"

namespace layerboot::vfsd::vhost {

struct RingFixture {
  static constexpr std::uint64_t kGuest = 0x4000'0000;
  static constexpr std::size_t kBytes = 4 << 20;

  explicit RingFixture(std::uint16_t size, bool event_idx = true, bool indirect = true) {
    UniqueFd fd(::memfd_create("ring", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(fd.get(), kBytes), 0);
    driver_memory = std::move(*Mapping::shared(fd.get(), 0, kBytes));
    memory = *GuestMemory().with({kGuest, kBytes, kGuest, 0}, std::move(fd));
    driver = std::make_unique<test::FakeQueue>(std::span(driver_memory.data(), kBytes), kGuest, size,
                                               event_idx, indirect);
  }
  Rings rings() const {
    return *Rings::locate(memory, driver->size(), driver->descriptors_address(), driver->available_address(),
                          driver->used_address());
  }
  std::span<const Descriptor> table() const { return {&driver->descriptor(0), driver->size()}; }

  Mapping driver_memory;
  std::shared_ptr<const GuestMemory> memory;
  std::unique_ptr<test::FakeQueue> driver;
};

}  // namespace layerboot::vfsd::vhost
