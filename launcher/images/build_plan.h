// What a Containerfile comes to in a VM: steps, each of which becomes a layer, or a change of the
// configuration. Pure.
//
// A step is what is copied, and then at most one RUN; so a VM is booted once for both. What only the
// configuration is about goes with the next step, and what is behind the last RUN is one of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/images/build_arguments.h"
#include "launcher/images/containerfile.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::launcher {

struct CopyAction {
  std::vector<std::string> sources;  // in the context; may have *, ? and [
  std::string target;                // absolute, without "." and ".."
  bool into_directory = false;       // `target` is one, or is to be
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::optional<unsigned> mode;   // of files and directories; none: as they have it
  bool refuses_archives = false;  // of ADD, which would unpack them
};

struct RunAction {
  std::vector<std::string> command;
  std::vector<std::string> environment;  // NAME=VALUE
  std::string user;                      // "": root
  std::string directory;                 // absolute
};

struct BuildAction {
  enum class Kind { kCopy, kDirectory, kRun };
  Kind kind = Kind::kRun;
  std::string said;       // said_at(), for messages
  CopyAction copy;        // of kCopy
  std::string directory;  // of kDirectory: is to be there
  std::string owner;      // of kDirectory, where it is not: USER; "": root
  RunAction run;          // of kRun
};

struct BuildStep {
  std::string said;                  // of its RUN, or of what comes first in it
  std::vector<BuildAction> actions;  // in their order; none: only the configuration changes
  std::vector<std::string> changes;  // for apply_change()
};

struct BuildPlan {
  std::vector<BuildStep> steps;
  std::vector<std::string> unused;    // of the arguments
  std::vector<std::string> warnings;  // to be said before the first step
};

/// Whether a commit leaves `path` out, whatever wrote it: what one machine has for itself (identity_names.h),
/// and what the VM layer brings.
[[nodiscard]] bool is_in_no_layer(std::string_view path);

/// The image that the one FROM names. EINVAL, or ENOTSUP for further stages, flags and "scratch".
Result<std::string> base_of_build(const std::vector<Instruction>& instructions,
                                  const BuildArguments& arguments);

/// All behind FROM, upon an image of this configuration, whose platform is that of TARGETARCH and its like.
///
/// `base_document` is what `base` was read from (store::Image's config_text), for its shell and its triggers,
/// which are refused. EINVAL and ENOTSUP say what is wrong, with its line.
Result<BuildPlan> plan_build(const std::vector<Instruction>& instructions, const BuildArguments& arguments,
                             const store::ImageConfig& base, std::string_view base_document = {});

}  // namespace layerboot::launcher
