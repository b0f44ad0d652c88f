// What an upper directory takes of the host, by other code than the program's own.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <set>

namespace layerboot::test {

/// What a fresh walk over the upper finds, by other code than Upper's; with objects that have no name any
/// more, in the work directory or held by a descriptor of this process.
struct HostUsage {
  std::uint64_t bytes = 0;
  std::uint64_t inodes = 0;
  friend bool operator==(const HostUsage&, const HostUsage&) = default;
};
inline HostUsage host_usage(const std::filesystem::path& upper_directory) {
  HostUsage usage;
  std::set<ino_t> seen;
  constexpr std::uint64_t kFreeOfTheRoot = 8192;
  struct stat root{};
  if (::stat((upper_directory / "upper").c_str(), &root) == 0) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(root.st_blocks) * 512;
    if (bytes > kFreeOfTheRoot) usage.bytes += bytes - kFreeOfTheRoot;
  }
  for (const char* part : {"upper", "work"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(upper_directory / part)) {
      struct stat st{};
      if (::lstat(entry.path().c_str(), &st) != 0 || !seen.insert(st.st_ino).second) continue;
      if (S_ISCHR(st.st_mode) && st.st_rdev == 0) continue;
      usage.bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
      usage.inodes += 1;
    }
  }
  struct stat top{};
  if (::stat(upper_directory.c_str(), &top) != 0) return usage;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    struct stat st{};
    if (::stat(entry.path().c_str(), &st) != 0 || st.st_nlink != 0) continue;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) continue;
    if (st.st_dev != top.st_dev || !seen.insert(st.st_ino).second) continue;
    usage.bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
    usage.inodes += 1;
  }
  return usage;
}

}  // namespace layerboot::test
