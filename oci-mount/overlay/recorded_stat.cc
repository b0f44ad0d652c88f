#include "oci-mount/overlay/recorded_stat.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <utility>

#include "oci-mount/base/device_number.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/result.h"

namespace layerboot::overlay {

namespace {

constexpr std::array<std::pair<std::string_view, std::uint32_t>, 5> kPlainTypes{
    {{"file", S_IFREG}, {"dir", S_IFDIR}, {"symlink", S_IFLNK}, {"pipe", S_IFIFO}, {"socket", S_IFSOCK}}};

/// Takes a number off the front of `text`, and `after` behind it; with NUL, the number ends the text.
std::optional<std::uint32_t> take_number(std::string_view& text, int base, char after) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.empty()) return after == '\0' ? std::optional(value) : std::nullopt;
  if (text.front() != after) return std::nullopt;
  text.remove_prefix(1);
  return value;
}

std::string type_text(const RecordedStat& stat) {
  for (const auto& [name, type] : kPlainTypes) {
    if ((stat.mode & kTypeBits) == type) return std::string(name);
  }
  const dev_t device = decode_dev(stat.rdev);
  return str_cat(S_ISBLK(stat.mode) ? "block-" : "char-", major(device), '-', minor(device));
}

bool parse_type(std::string_view text, RecordedStat& stat) {
  for (const auto& [name, type] : kPlainTypes) {
    if (text == name) {
      stat.mode |= type;
      return true;
    }
  }
  const bool is_block = text.starts_with("block-");
  if (!is_block && !text.starts_with("char-")) return false;
  text.remove_prefix(text.find('-') + 1);
  const auto device_major = take_number(text, 10, '-');
  if (!device_major) return false;
  const auto device_minor = take_number(text, 10, '\0');
  if (!device_minor) return false;
  stat.mode |= is_block ? S_IFBLK : S_IFCHR;
  stat.rdev = encode_dev(*device_major, *device_minor);
  return true;
}

}  // namespace

std::string format_recorded_stat(const RecordedStat& stat) {
  std::array<char, 8> permissions{};
  std::snprintf(permissions.data(), permissions.size(), "%04o", stat.mode & kPermissionBits);
  return str_cat(stat.uid, ':', stat.gid, ':', permissions.data(), ':', type_text(stat));
}

std::optional<RecordedStat> parse_recorded_stat(std::string_view text) {
  RecordedStat stat;
  const auto uid = take_number(text, 10, ':');
  if (!uid) return std::nullopt;
  const auto gid = take_number(text, 10, ':');
  if (!gid) return std::nullopt;
  const bool has_type = text.find(':') != std::string_view::npos;
  const auto mode = take_number(text, 8, has_type ? ':' : '\0');
  if (!mode) return std::nullopt;
  stat.uid = *uid;
  stat.gid = *gid;
  stat.mode = *mode & kPermissionBits;
  if (!has_type) {
    stat.mode |= S_IFREG;
    return stat;
  }
  if (!parse_type(text, stat)) return std::nullopt;
  return stat;
}

}  // namespace layerboot::overlay
