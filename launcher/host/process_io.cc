#include "launcher/host/process_io.h"

#include <charconv>
#include <string_view>

#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxProcBytes = 4096;

std::uint64_t count_of(pid_t pid, std::string_view key) {
  const auto text = read_file(str_cat("/proc/", pid, "/io"), kMaxProcBytes);
  const auto at = text ? text->find(key) : std::string::npos;
  if (at == std::string::npos) return 0;
  std::uint64_t bytes = 0;
  std::from_chars(text->data() + at + key.size(), text->data() + text->size(), bytes);
  return bytes;
}

}  // namespace

std::uint64_t bytes_read_by(pid_t pid) { return count_of(pid, "rchar: "); }
std::uint64_t bytes_written_by(pid_t pid) { return count_of(pid, "wchar: "); }

}  // namespace layerboot::launcher
