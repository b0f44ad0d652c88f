#include "oci-mount/base/log.h"

#include <unistd.h>

#include <string>

#include "oci-mount/base/printable.h"

namespace layerboot {

namespace {

std::string program_name = "layerboot";
LogLevel chattiest = LogLevel::kInfo;
// A terminal may be in raw mode, for a guest's console: then only a carriage return leads to the margin.
// Asked at the start, since a sandbox may forbid the question.
const bool terminal = ::isatty(STDERR_FILENO) != 0;

std::string_view level_word(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return "error: ";
    case LogLevel::kWarn:
      return "warning: ";
    case LogLevel::kInfo:
      return "";
    case LogLevel::kDebug:
      return "debug: ";
  }
  return "";
}

}  // namespace

void log_setup(std::string_view program, LogLevel level) {
  program_name = program.substr(program.rfind('/') + 1);
  chattiest = level;
}

bool log_enabled(LogLevel level) { return level <= chattiest; }

void log_line(LogLevel level, std::string_view text) {
  if (!log_enabled(level)) return;
  const std::string line = str_cat(terminal ? "\r" : "", program_name, ": ", level_word(level),
                                   printable_lines(text), terminal ? "\r\n" : "\n");
  // A log that can't be written has nowhere to say so.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace layerboot
