// The stages of a Containerfile, and which of them the last one needs. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/images/build_arguments.h"
#include "launcher/images/containerfile.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

struct BuildStage {
  Instruction from;
  std::string name;                   // in lower case; "": it has none
  std::optional<std::size_t> parent;  // the stage that it begins with
  std::string image;                  // that it begins with, where that is no stage
  std::vector<Instruction> instructions;
  bool is_needed = false;
};

struct BuildStages {
  std::vector<BuildStage> all;  // at least one
  BuildArguments globals;       // of the ARGs before the first FROM
};

/// `target` is what is built for: the one --platform that FROM may have. EINVAL and ENOTSUP name the line;
/// what is refused of a stage itself ("scratch", another platform) is so where that is needed.
Result<BuildStages> stages_of(const std::vector<Instruction>& instructions, const BuildArguments& arguments,
                              const store::Platform& target);

/// What COPY --from names; neither: it has no such flag.
struct StageSource {
  std::optional<std::size_t> stage;
  std::string image;  // where that is no stage

  [[nodiscard]] bool is_context() const { return !stage && image.empty(); }
};

/// `name` of --from in the stage number `at`: a stage before it, by name or number, or an image. EINVAL and
/// ENOTSUP, without the line.
Result<StageSource> source_named(const BuildStages& stages, std::size_t at, std::string_view name);

inline constexpr std::string_view kFromFlag = "--from=";

/// An image that a stage which is needed begins with, or copies from.
struct StageImage {
  std::string name;
  std::string said;            // said_at() of who says so first
  bool takes_a_layer = false;  // a stage begins with it
};
/// Each once.
[[nodiscard]] std::vector<StageImage> images_of(const BuildStages& stages);

}  // namespace layerboot::launcher
