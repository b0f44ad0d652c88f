#include "oci-mount/base/mount_list.h"

#include <algorithm>
#include <optional>

#include "oci-mount/base/files.h"

namespace layerboot {

namespace {

constexpr std::size_t kMaxListBytes = std::size_t{64} << 20;

std::string_view take_word(std::string_view& rest) {
  const std::string_view word = rest.substr(0, rest.find(' '));
  rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  return word;
}

bool is_octal(char c) { return c >= '0' && c <= '7'; }

/// Blanks, tabs, line feeds and backslashes are written as \ooo.
std::string unescaped(std::string_view word) {
  std::string text;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '\\' && i + 3 < word.size() && is_octal(word[i + 1]) && is_octal(word[i + 2]) &&
        is_octal(word[i + 3])) {
      text += static_cast<char>((word[i + 1] - '0') * 64 + (word[i + 2] - '0') * 8 + (word[i + 3] - '0'));
      i += 3;
    } else {
      text += word[i];
    }
  }
  return text;
}

/// "36 35 98:0 /root /path rw,noatime shared:1 - ext4 /dev/sda rw": any number of words before the '-'.
std::optional<MountPoint> parse_line(std::string_view line) {
  for (int i = 0; i < 4; ++i) take_word(line);
  MountPoint mount;
  mount.path = unescaped(take_word(line));
  const std::string_view options = take_word(line);
  mount.read_only = options == "ro" || options.starts_with("ro,");
  const auto mark = line.starts_with("- ") ? 0 : line.find(" - ");
  if (mark == std::string_view::npos || !mount.path.starts_with('/')) return {};
  mount.unbindable = line.substr(0, mark).find("unbindable") != std::string_view::npos;
  line.remove_prefix(mark + (mark == 0 ? 2 : 3));
  mount.type = take_word(line);
  return mount;
}

}  // namespace

std::vector<MountPoint> parse_mount_list(std::string_view text) {
  std::vector<MountPoint> mounts;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (auto mount = parse_line(line)) mounts.push_back(*std::move(mount));
  }
  return mounts;
}

Result<std::vector<MountPoint>> own_mounts() {
  LB_ASSIGN(const std::string text, read_file("/proc/self/mountinfo", kMaxListBytes));
  return parse_mount_list(text);
}

}  // namespace layerboot
