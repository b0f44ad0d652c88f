// What a person asks to be changed of an image's configuration, in the words of a Containerfile. Pure.
#pragma once

#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

/// Carries out one instruction on `config`, the member "config" of an image's configuration: CMD, ENTRYPOINT,
/// ENV, USER, WORKDIR, LABEL, EXPOSE, VOLUME or STOPSIGNAL, as Docker's reference of the Dockerfile has them,
/// without variables. EINVAL says what is not understood; nothing is changed then.
Result<void> apply_change(store::Json& config, std::string_view instruction);

/// The instructions, for people.
inline constexpr std::string_view kChangeWords =
    "CMD, ENTRYPOINT, ENV, USER, WORKDIR, LABEL, EXPOSE, VOLUME, STOPSIGNAL, SHELL";

}  // namespace layerboot::launcher
