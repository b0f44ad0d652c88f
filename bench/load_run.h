// One workload on one server for a while, and what came of it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <span>
#include <string>

#include "bench/lane.h"
#include "bench/served_tree.h"
#include "bench/workload.h"
#include "oci-mount/base/result.h"

namespace layerboot::bench {

struct LoadResult {
  std::string workload;
  unsigned depth = 0;  // of each queue
  unsigned queues = 0;
  double operations_per_second = 0;
  double megabytes_per_second = 0;
  double p50_us = 0;
  double p99_us = 0;
  double interrupts_per_operation = 0;
  double kicks_per_operation = 0;
  double cpu_us_per_operation = 0;  // of the server
  std::uint64_t private_bytes = 0;  // of the server, at the end
  std::uint64_t descriptors = 0;
};

struct LoadTimes {
  std::chrono::milliseconds warm_up{200};
  std::chrono::milliseconds measured{1000};
};

/// Drives each lane from a thread of its own. A reply that is wrong ends it with EBADMSG.
Result<LoadResult> run_load(const WorkloadSpec& spec, const ServedTree& tree, std::span<Lane> lanes,
                            pid_t server, LoadTimes times);

}  // namespace layerboot::bench
