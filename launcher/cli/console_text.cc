#include "launcher/cli/console_text.h"

#include <algorithm>

#include "launcher/host/time_text.h"
#include "oci-mount/base/decimal.h"

namespace layerboot::launcher {

namespace {

/// A number above this is no span but a time.
constexpr std::uint64_t kFirstTime = 1'000'000'000;
constexpr std::uint64_t kMaxSeconds = 100'000'000'000;

/// 0 where nothing is known.
std::int64_t time_of(std::uint64_t offset, const std::vector<LogTime>& times) {
  const auto after = std::ranges::upper_bound(times, offset, {}, &LogTime::offset);
  return after == times.begin() ? 0 : std::prev(after)->seconds;
}

std::vector<std::size_t> line_starts(std::string_view text) {
  std::vector<std::size_t> starts;
  for (std::size_t at = 0; at < text.size();) {
    starts.push_back(at);
    const auto end = text.find('\n', at);
    at = end == std::string_view::npos ? text.size() : end + 1;
  }
  return starts;
}

std::optional<std::uint64_t> unit_seconds(char unit) {
  switch (unit) {
    case 's':
      return 1;
    case 'm':
      return 60;
    case 'h':
      return 3600;
    case 'd':
      return 86'400;
    default:
      return {};
  }
}

/// "1h30m"; none for what is no span.
std::optional<std::uint64_t> parse_span(std::string_view text) {
  std::uint64_t seconds = 0;
  if (text.empty()) return {};
  while (!text.empty()) {
    const auto end = text.find_first_not_of("0123456789");
    if (end == std::string_view::npos) return {};
    const auto number = parse_decimal(text.substr(0, end), kMaxSeconds);
    const auto unit = unit_seconds(text[end]);
    if (!number || !unit) return {};
    seconds += *number * *unit;
    if (seconds > kMaxSeconds) return {};
    text.remove_prefix(end + 1);
  }
  return seconds;
}

}  // namespace

void read_log_times(std::string_view text, std::uint64_t shift, std::vector<LogTime>& times) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const auto blank = line.find(' ');
    if (blank == std::string_view::npos) continue;
    const auto offset = parse_decimal(line.substr(0, blank), UINT64_MAX / 2);
    const auto seconds = parse_decimal(line.substr(blank + 1), kMaxSeconds);
    if (!offset || !seconds) continue;
    const LogTime time{.offset = *offset + shift, .seconds = static_cast<std::int64_t>(*seconds)};
    if (times.empty() || times.back().offset <= time.offset) times.push_back(time);
  }
}

std::string choose_log(std::string_view text, const std::vector<LogTime>& times, const LogChoice& choice) {
  auto starts = line_starts(text);
  if (choice.since) {
    const auto first = std::ranges::find_if(
        starts, [&](std::size_t start) { return time_of(start, times) >= *choice.since; });
    starts.erase(starts.begin(), first);
  }
  if (choice.tail && starts.size() > *choice.tail)
    starts.erase(starts.begin(), starts.end() - static_cast<std::ptrdiff_t>(*choice.tail));
  if (starts.empty()) return {};
  if (!choice.timestamps) return std::string(text.substr(starts.front()));
  std::string chosen;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::size_t end = i + 1 < starts.size() ? starts[i + 1] : text.size();
    chosen += utc_text(time_of(starts[i], times)) + ' ';
    chosen += text.substr(starts[i], end - starts[i]);
  }
  return chosen;
}

Result<std::int64_t> parse_since(std::string_view text, std::int64_t now) {
  if (const auto number = parse_decimal(text, kMaxSeconds))
    return *number >= kFirstTime ? static_cast<std::int64_t>(*number)
                                 : now - static_cast<std::int64_t>(*number);
  if (const auto span = parse_span(text)) return now - static_cast<std::int64_t>(*span);
  for (const std::string& candidate :
       {std::string(text), str_cat(text, "Z"), str_cat(text, ":00Z"), str_cat(text, "T00:00:00Z")}) {
    if (const auto time = parse_utc(candidate)) return *time;
  }
  return fail(EINVAL, "'", text,
              "' is no time: write 10m, 1h30m or 2d for so long ago, or 2026-11-29T10:00:00Z");
}

}  // namespace layerboot::launcher
