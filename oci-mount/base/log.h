// Log lines on standard error, one event a line, prefixed with the program's name.
//
// error: the program can't do what was asked; the person has to act.
// warn:  something is wrong but the work goes on, less well than it could.
// info:  a step that a person watching would want to see. Off with --quiet.
// debug: for finding a fault. Off unless --debug.
#pragma once

#include <string_view>

#include "oci-mount/base/str_cat.h"

namespace layerboot {

enum class LogLevel { kError, kWarn, kInfo, kDebug };

/// Sets the prefix (argv[0]'s last part) and the chattiest level shown. Call once, before threads.
void log_setup(std::string_view program, LogLevel level);
[[nodiscard]] bool log_enabled(LogLevel level);
/// Writes one line with a single write(2), so that lines of several threads do not mix. Whatever control
/// characters are in it are escaped (printable_lines()): much of what is told comes from images and guests.
void log_line(LogLevel level, std::string_view text);

template <typename... Parts>
void log_error(const Parts&... parts) {
  log_line(LogLevel::kError, str_cat(parts...));
}
template <typename... Parts>
void log_warn(const Parts&... parts) {
  log_line(LogLevel::kWarn, str_cat(parts...));
}
template <typename... Parts>
void log_info(const Parts&... parts) {
  if (log_enabled(LogLevel::kInfo)) log_line(LogLevel::kInfo, str_cat(parts...));
}
template <typename... Parts>
void log_debug(const Parts&... parts) {
  if (log_enabled(LogLevel::kDebug)) log_line(LogLevel::kDebug, str_cat(parts...));
}

}  // namespace layerboot
