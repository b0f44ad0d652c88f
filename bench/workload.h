// Workload: what a guest asks, request by request.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/lane.h"
#include "bench/served_tree.h"

namespace layerboot::bench {

/// Belongs to one lane and its thread.
class Workload {
 public:
  virtual ~Workload() = default;

  struct Reply {
    bool operation_done = true;    // else the slot holds its next request
    std::uint32_t operations = 1;  // that this reply completes
    std::uint32_t data_bytes = 0;
    const char* wrong = nullptr;  // what is not as it must be; ends the run
  };
  /// Lays out the first request of an operation.
  virtual void begin(Slot& slot) = 0;
  /// Judges a sound reply; a sequence lays out its next request.
  virtual Reply finish(Slot& slot) = 0;
};

struct WorkloadSpec {
  std::string name;
  unsigned depth = 1;
  std::size_t data_bytes = 0;  // largest of a request
  bool writes = false;         // needs a writable server
  /// `lane` tells the lanes of one run apart, so that they don't tread on each other's files.
  std::function<std::unique_ptr<Workload>(const ServedTree& tree, unsigned lane)> make;
};

/// Each with its usual depths.
[[nodiscard]] std::vector<WorkloadSpec> metadata_workloads();
[[nodiscard]] std::vector<WorkloadSpec> data_workloads();
[[nodiscard]] std::vector<WorkloadSpec> write_workloads();

/// The same pseudo-random numbers in every run.
class Sequence {
 public:
  explicit Sequence(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }

 private:
  std::uint64_t state_;
};

}  // namespace layerboot::bench
