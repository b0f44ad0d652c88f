// skopeo, which brings registries' protocols, credentials and mirrors.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct SkopeoCall {
  std::vector<std::string> words;           // behind "skopeo"
  std::filesystem::path working_directory;  // empty: ours
  std::function<void()> on_tick;            // as run_tool()'s
};

/// Runs it, and gives what it printed. An error is what it said was wrong, without its log's dressing; ENOENT
/// with how to get it where it is not installed. REQUIRES: as run_tool().
Result<std::string> run_skopeo(const SkopeoCall& call);

/// The last message of a log of skopeo's (logrus's text form), or the text where there is none. Pure.
std::string skopeo_message(std::string_view log);

}  // namespace layerboot::launcher
