#include "launcher/host/memory_limit.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "oci-mount/base/decimal.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> limit_in(const fs::path& file) {
  constexpr std::size_t kMaxTextBytes = 64;
  /// Version 1 writes nearly 2^63 where there is none.
  constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;
  auto text = read_file(file, kMaxTextBytes);
  if (!text) return {};
  text->erase(text->find_last_not_of('\n') + 1);
  const auto bytes = parse_whole<std::uint64_t>(*text);
  return bytes && *bytes < kNoLimit ? bytes : std::nullopt;
}

/// Of `group`, "/a/b", and what is above it.
std::optional<std::uint64_t> least_limit(const fs::path& mount, std::string_view group, const char* file) {
  std::optional<std::uint64_t> least;
  for (fs::path path(group);; path = path.parent_path()) {
    const auto limit = limit_in(mount / path.relative_path() / file);
    if (limit) least = std::min(least.value_or(*limit), *limit);
    if (!path.has_relative_path()) return least;
  }
}

}  // namespace

std::optional<std::uint64_t> memory_limit_bytes() {
  for (const char* file : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    if (const auto limit = limit_in(file)) return limit;
  }
  return {};
}

std::optional<std::uint64_t> own_group_limit_bytes(const fs::path& mounts, const fs::path& own) {
  constexpr std::size_t kMaxListBytes = std::size_t{64} << 10;
  constexpr std::string_view kUnified = "0::";
  constexpr std::string_view kMemory = ":memory:";
  const auto list = read_file(own, kMaxListBytes);
  if (!list) return {};
  std::optional<std::uint64_t> unified;
  for (std::string_view rest = *list; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.starts_with(kUnified)) unified = least_limit(mounts, line.substr(kUnified.size()), "memory.max");
    if (const auto at = line.find(kMemory); at != std::string_view::npos)
      return least_limit(mounts / "memory", line.substr(at + kMemory.size()), "memory.limit_in_bytes");
  }
  return unified;
}

}  // namespace layerboot::launcher
