// A file that another program makes, whole or not at all.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "launcher/host/run_tool.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// `path` made by `tool` under another name first, and durable; what is there already stays. `tool` takes the
/// name to make. REQUIRES: the main thread.
template <typename Tool>
Result<void> make_whole(const std::filesystem::path& path, const Tool& tool) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return {};
  const std::filesystem::path part = path.string() + ".part";
  const InterruptScope interrupts;
  if (auto made = tool(part); !made) {
    std::filesystem::remove(part, ignored);
    return std::unexpected(made.error());
  }
  LB_ASSIGN(const UniqueFd file, open_path(part, O_RDONLY));
  if (::fsync(file.get()) != 0) return errno_error("cannot sync ", part.string());
  return rename_durably(part, path);
}

}  // namespace layerboot::launcher
