// The images that a Containerfile names, for another builder that is to take those which the local store has.
// Pure.
#pragma once

#include <string>
#include <vector>

#include "launcher/images/build_arguments.h"
#include "launcher/images/containerfile.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

struct BuildBase {
  std::string written;   // as the Containerfile has it, variables and all
  std::string name;      // what that comes to
  std::string platform;  // of its FROM alone ("linux/arm64"); "": the build's

  friend bool operator==(const BuildBase&, const BuildBase&) = default;
};

struct BuildBases {
  std::vector<BuildBase> bases;      // each once
  std::vector<std::string> unclear;  // what is wrong with those that can't be told
};

/// Of FROM, of COPY and ADD with --from, and of RUN with --mount=…,from=…: but for "scratch" and stages, by
/// name or number. `instructions` are skim_containerfile()'s, `target` is what the image is to be for.
BuildBases bases_in(const std::vector<Instruction>& instructions, const BuildArguments& arguments,
                    const store::Platform& target);

}  // namespace layerboot::launcher
