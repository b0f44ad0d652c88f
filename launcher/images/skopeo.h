// skopeo, which brings registries' protocols, credentials and mirrors.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "launcher/images/image_name.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct SkopeoCall {
  std::vector<std::string> words;           // behind "skopeo"
  std::filesystem::path working_directory;  // empty: ours
  std::function<void()> on_tick;            // as run_tool()'s
  std::function<void(pid_t)> on_start = {};
};

/// Runs it, and gives what it printed. An error is what it said was wrong, without its log's dressing; ENOENT
/// with how to get it where it is not installed. REQUIRES: as run_tool().
Result<std::string> run_skopeo(const SkopeoCall& call);

/// "; " and what to do where that is known of what skopeo said was wrong; else "". Pure.
std::string skopeo_remedy(std::string_view message);

/// The last message of a log of skopeo's (logrus's text form), or the text where there is none. Pure.
std::string skopeo_message(std::string_view log);

/// What to do about an error of a registry's, behind a "; "; "" where that can't be told. Pure.
std::string registry_advice(const Error& error, const ImageName& name);

}  // namespace layerboot::launcher
