#include "launcher/host/memory_limit.h"

#include <string>

#include "oci-mount/base/decimal.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

std::optional<std::uint64_t> memory_limit_bytes() {
  constexpr std::size_t kMaxTextBytes = 64;
  /// Version 1 writes nearly 2^63 where there is none.
  constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;
  for (const char* file : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    auto text = read_file(file, kMaxTextBytes);
    if (!text) continue;
    text->erase(text->find_last_not_of('\n') + 1);
    const auto bytes = parse_whole<std::uint64_t>(*text);
    if (bytes && *bytes < kNoLimit) return bytes;
  }
  return {};
}

}  // namespace layerboot::launcher
