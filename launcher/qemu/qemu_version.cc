#include "launcher/qemu/qemu_version.h"

#include <charconv>

#include "launcher/host/run_tool.h"

namespace layerboot::launcher {

Result<std::string> qemu_version(const std::filesystem::path& qemu) {
  LB_ASSIGN(const std::string text, run_tool({qemu.string(), "--version"}));
  return text.substr(0, text.find('\n'));
}

unsigned qemu_major(std::string_view version_line) {
  constexpr std::string_view kBefore = "version ";
  const std::size_t at = version_line.find(kBefore);
  if (at == std::string_view::npos) return 0;
  version_line.remove_prefix(at + kBefore.size());
  unsigned major = 0;
  std::from_chars(version_line.data(), version_line.data() + version_line.size(), major);
  return major;
}

}  // namespace layerboot::launcher
