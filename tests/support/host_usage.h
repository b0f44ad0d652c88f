// What an upper directory takes of the host, by a walk of its own.
#pragma once

#include <cstdint>
#include <filesystem>

#include "oci-mount/overlay/tariff.h"

namespace layerboot::test {

/// The price list of the host that the directory is on.
overlay::Tariff tariff_of_host(const std::filesystem::path& directory);

/// As overlay::Tariff prices it, which has tests of its own against the free space of hosts; in whole blocks,
/// as statfs(2) tells it.
struct HostUsage {
  std::uint64_t bytes = 0;
  std::uint64_t inodes = 0;
  friend bool operator==(const HostUsage&, const HostUsage&) = default;
};

/// What is there now, by other code than the survey's: everything in the upper; and what has no name there
/// any more, in the work directory or held by a descriptor of this process.
HostUsage host_usage(const std::filesystem::path& upper_directory);

}  // namespace layerboot::test
