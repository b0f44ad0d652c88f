// passt's command line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/vm/run_settings.h"

namespace layerboot::launcher {

/// Pure. passt on the socket kFirstInheritedFd, with the addresses of QEMU's user network, so that a guest
/// finds the same network either way; and the published ports alone.
std::vector<std::string> passt_args(const RunSettings& settings, const std::filesystem::path& passt);

}  // namespace layerboot::launcher
