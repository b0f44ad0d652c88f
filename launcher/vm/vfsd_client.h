// Talks to the daemon of a running VM's root.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// One question at its control socket; vfsd/DESIGN.md, "Control socket", has the protocol. A refusal is
/// EPROTO; is_nobody() (control_client.h) tells a daemon that is not there.
Result<nlohmann::json> ask_vfsd(const std::filesystem::path& socket, const nlohmann::json& request);

}  // namespace layerboot::launcher
