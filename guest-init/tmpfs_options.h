// The options of a tmpfs, as mount(8) writes them.
#pragma once

#include <string>
#include <string_view>

namespace guest_init {

struct TmpfsOptions {
  unsigned long flags = 0;  // mount(2)'s
  std::string data;         // what is left, for the file system
};

/// As Docker has them: without words to the contrary no programs, no set-id bits and no devices, and anybody
/// may write. Pure.
[[nodiscard]] TmpfsOptions parse_tmpfs_options(std::string_view text);

}  // namespace guest_init
