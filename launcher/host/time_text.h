// Times for people and for programs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace layerboot::launcher {

/// Now, in seconds since 1970.
std::int64_t seconds_now();
/// "3 s", "5 min", "7 h", "12 d": the largest unit that is not 0.
std::string span_text(std::int64_t seconds);
/// "2026-11-29T10:51:06Z", of seconds since 1970.
std::string utc_text(std::int64_t seconds);
/// Seconds since 1970, of what RFC 3339 allows; fractions are left out. None for anything else.
std::optional<std::int64_t> parse_utc(std::string_view text);

}  // namespace layerboot::launcher
