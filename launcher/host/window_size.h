// The size of a terminal.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>
#include <optional>

namespace layerboot::launcher {

struct WindowSize {
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;

  bool operator==(const WindowSize&) const = default;
};

/// Nothing where `fd` is no terminal, or one that does not know its size.
inline std::optional<WindowSize> window_of(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return std::nullopt;
  return WindowSize{.rows = size.ws_row, .columns = size.ws_col};
}

}  // namespace layerboot::launcher
