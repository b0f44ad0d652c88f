// What is asked of a tree of any size: all its names once, then single ones at random.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/workload.h"
#include "tests/support/fake_guest_fuse.h"

namespace layerboot::bench {

/// Everything below the root that is not a directory.
struct WholeTree {
  struct File {
    std::uint64_t parent = 0;
    std::uint64_t node = 0;
    std::string name;
  };
  std::vector<File> files;
};

/// Lists every directory by READDIRPLUS, as find(1) does. The client must have introduced itself.
Result<WholeTree> list_all(test::FuseClient& client);

/// GETATTR and LOOKUP of files at random, at depth 32. `whole` must outlive the runs.
[[nodiscard]] std::vector<WorkloadSpec> growth_workloads(const WholeTree& whole);

}  // namespace layerboot::bench
