// What a person asks to be changed of an image's configuration, in the words of a Containerfile. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

/// Carries out one instruction on `config`, the member "config" of an image's configuration: CMD, ENTRYPOINT,
/// ENV, USER, WORKDIR, LABEL, EXPOSE, VOLUME, STOPSIGNAL or SHELL, as Docker's reference of the Dockerfile
/// has them. In ENV, LABEL, EXPOSE and VOLUME the variables of `config` count (containerfile_words.h). EINVAL
/// says what is not understood; nothing is changed then.
Result<void> apply_change(store::Json& config, std::string_view instruction);

/// All instructions for one image: where they have an ENTRYPOINT and no CMD, what the image below is to do by
/// itself is not the new program's argument.
std::vector<std::string> completed_changes(std::vector<std::string> changes);

/// The instructions, for people.
inline constexpr std::string_view kChangeWords =
    "CMD, ENTRYPOINT, ENV, USER, WORKDIR, LABEL, EXPOSE, VOLUME, STOPSIGNAL, SHELL";

}  // namespace layerboot::launcher
