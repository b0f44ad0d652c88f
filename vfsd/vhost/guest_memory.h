// GuestMemory: which of the guest's addresses lie where in this process.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "oci-mount/base/mapping.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "vfsd/vhost/message.h"

namespace layerboot::vfsd::vhost {

/// An immutable table of mapped regions. A change makes a new table that shares the mappings; whoever still
/// works on the old one (a request in flight) keeps it, and with it the mappings, by its shared_ptr.
/// Thread-safe.
class GuestMemory {
 public:
  /// Regions of one guest; the answer to GET_MAX_MEM_SLOTS.
  static constexpr std::size_t kMaxRegions = 128;

  GuestMemory() = default;

  /// A table with one region more. Fails if the region is empty, wraps around, overlaps another, reaches
  /// beyond the end of its file, or is one too many.
  Result<std::shared_ptr<const GuestMemory>> with(const MemoryRegion& region, UniqueFd fd) const;
  /// A table without the region at these addresses; ENOENT if there is none.
  Result<std::shared_ptr<const GuestMemory>> without(const MemoryRegion& region) const;

  /// Appends to `out` where the guest's [address, address + length) lies: one slice for each region it
  /// crosses, joined to the last one of `out` if they are neighbours. False, with anything in `out`, when a
  /// part of it is nowhere.
  [[nodiscard]] bool translate(std::uint64_t address, std::uint64_t length, std::vector<iovec>& out) const;

  /// Where the guest's [address, address + length) lies, if all of it lies in one region; else null.
  [[nodiscard]] std::byte* contiguous(std::uint64_t address, std::uint64_t length) const;

  /// The same for an address of the front end's process, as rings are given.
  [[nodiscard]] std::byte* from_user(std::uint64_t user_address, std::uint64_t length) const;

 private:
  struct Region {
    std::uint64_t guest_address = 0;
    std::uint64_t user_address = 0;
    std::uint64_t size_bytes = 0;
    std::byte* host = nullptr;
    std::shared_ptr<Mapping> mapping;
  };
  [[nodiscard]] const Region* find(std::uint64_t address) const;

  std::vector<Region> regions_;  // by guest address
};

}  // namespace layerboot::vfsd::vhost
