// ServedTree: the sample tree as a server shows it: its node ids, handles and habits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "tests/support/fake_guest_fuse.h"

namespace layerboot::bench {

struct ServedTree {
  struct File {
    std::uint64_t node = 0;
    std::uint64_t handle = 0;
    std::uint64_t seed = 0;
    std::uint32_t size_bytes = 0;
  };
  bool sends_open = true;     // the server did not answer ENOSYS to OPEN
  bool sends_opendir = true;  // nor to OPENDIR
  bool verify = true;         // what is read is compared with what it must be
  File big;
  std::vector<File> small;
  std::uint64_t small_directory = 0;
  std::vector<std::uint64_t> directories;  // of walk/
  // A directory to make files in, and a file of existing data to write to, for each lane; empty: not
  // writable.
  std::vector<std::uint64_t> scratch;
  std::vector<File> targets;
};

inline constexpr std::uint64_t kTargetBytes = 16U << 20;

/// Introduces the guest (INIT) and looks everything up. With `writable`, makes what is written to, for each
/// of `lanes`, in scratch/.
Result<ServedTree> meet_server(test::FuseClient& client, bool writable, unsigned lanes);

}  // namespace layerboot::bench
