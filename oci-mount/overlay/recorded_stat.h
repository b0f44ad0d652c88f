// RecordedStat: type, mode, owner and device number of an object that the host would not let an ordinary user
// make so. In the form of containers/storage (pkg/idtools), which fuse-overlayfs reads too:
// "UID:GID:MODE:TYPE", as "0:42:2755:dir" or "0:5:0620:char-136-0".
// Pure functions: no lock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace layerboot::overlay {

inline constexpr std::string_view kRecordedStatXattr = "user.containers.override_stat";

struct RecordedStat {
  std::uint32_t mode = 0;  // with the type bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t rdev = 0;  // new_encode_dev() form
  friend bool operator==(const RecordedStat&, const RecordedStat&) = default;
};

[[nodiscard]] std::string format_recorded_stat(const RecordedStat& stat);
/// Nothing for text that is not of that form. A missing type is a regular file's.
[[nodiscard]] std::optional<RecordedStat> parse_recorded_stat(std::string_view text);

}  // namespace layerboot::overlay
