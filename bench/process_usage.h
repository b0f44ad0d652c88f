// What a server uses: CPU time of all its threads and descendants, memory, descriptors.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace layerboot::bench {

struct ProcessUsage {
  std::uint64_t cpu_ns = 0;         // of the threads alive, kernel threads that work for them included
  std::uint64_t private_bytes = 0;  // resident, without memory shared with the guest
  std::uint64_t descriptors = 0;
};

/// Of `pid` and what it started; zeroes where nothing can be read.
[[nodiscard]] ProcessUsage usage_of(pid_t pid);

}  // namespace layerboot::bench
