// vfsd's command line.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/id_map.h"
#include "oci-mount/base/io_engine.h"
#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/sanitizers.h"
#include "oci-mount/layer/span_cache.h"
#include "oci-mount/store/platform.h"
#include "vfsd/daemon/sandbox.h"
#include "vfsd/daemon/seccomp.h"

namespace layerboot::vfsd {

/// A sanitizer's calls are not on the list.
inline constexpr SeccompMode kDefaultSeccomp = kSanitizer ? SeccompMode::kNone : SeccompMode::kKill;

struct Options {
  static constexpr unsigned kMaxRequestQueues = 16;

  std::filesystem::path socket_path;     // empty with socket_fd
  std::optional<gid_t> socket_group;     // may connect there, too
  int socket_fd = -1;                    // a listening or connected socket, inherited
  std::filesystem::path control_socket;  // empty: none
  std::string image;
  store::Platform platform = store::host_platform();  // which of an image for several
  std::filesystem::path share;                        // instead of an image: this directory, as it is
  IdMap ids;                                          // of that
  std::filesystem::path upper;
  std::uint64_t quota_bytes = 0;
  std::uint64_t quota_inodes = 0;  // 0: as many as the file system has by default
  std::optional<std::uint64_t> host_floor_bytes;
  std::vector<std::filesystem::path> add_layers;
  std::filesystem::path index_dir;  // empty: the user's cache
  unsigned request_queues = 4;
  std::uint64_t cache_bytes = layer::SpanCache::kDefaultBytes;
  std::uint64_t memory_limit_bytes = MemoryBudget::kDefaultLimitBytes;
  int ready_fd = -1;
  SandboxMode sandbox = SandboxMode::kAuto;
  SeccompMode seccomp = kDefaultSeccomp;
  IoEngine io_engine = IoEngine::kAuto;
  bool once = false;
  bool read_only = false;
  bool send_opens = false;     // the guest asks for each open
  bool record_owners = false;  // of a new upper: as an ordinary user's daemon does
  bool writeback = false;      // the guest keeps what it writes for a while
  bool quiet = false;
  bool debug = false;
  bool print_capabilities = false;
};

/// What main does next: go on with `options`, or leave with `exit_code`, having printed help or an error.
struct ParsedOptions {
  Options options;
  std::optional<int> exit_code;
};
ParsedOptions parse_options(int argc, const char* const* argv);

}  // namespace layerboot::vfsd
