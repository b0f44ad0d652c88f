// Which QEMU is there.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// "QEMU emulator version 7.2.22 (...)": the first line of `qemu --version`.
Result<std::string> qemu_version(const std::filesystem::path& qemu);

/// 7 of that line; 0 when it is of another form.
[[nodiscard]] unsigned qemu_major(std::string_view version_line);

}  // namespace layerboot::launcher
