// LastRun: how a VM's latest run went, in last-run.json of its directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct LastRun {
  std::int64_t started = 0;           // seconds since 1970
  std::optional<std::int64_t> ended;  // none: it runs, or its launcher was killed
  int exit_status = 0;                // the launcher's
  std::string error;                  // empty: none

  bool operator==(const LastRun&) const = default;
};

Result<void> save_last_run(const std::filesystem::path& path, const LastRun& run);
/// Nothing where there was no run. EINVAL for a damaged file.
Result<std::optional<LastRun>> load_last_run(const std::filesystem::path& path);

}  // namespace layerboot::launcher
