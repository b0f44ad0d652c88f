// What a Containerfile comes to in VMs: steps, each of which becomes a layer, or a change of the
// configuration. Pure.
//
// A step is what is copied, and then at most one RUN; so a VM is booted once for both. What only the
// configuration is about goes with the next step, and what is behind the last RUN is one of its own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/images/build_arguments.h"
#include "launcher/images/build_stages.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::launcher {

/// A file that the Containerfile holds itself.
struct CopiedDocument {
  std::string name;
  std::string text;
};

struct CopyAction {
  StageSource from;                       // neither: the context
  std::vector<std::string> sources;       // in it; may have *, ? and [
  std::vector<CopiedDocument> documents;  // 0644, where no mode is said
  std::string target;                     // absolute, without "." and ".."
  bool into_directory = false;            // `target` is one, or is to be
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string owner;              // by names that the guest knows, instead of these; "": by these
  std::optional<unsigned> mode;   // of files and directories; none: as they have it
  bool refuses_archives = false;  // of ADD, which would unpack them
};

struct RunAction {
  std::vector<std::string> command;      // empty: the script
  std::string script;                    // a program, which begins with "#!"
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

using BuildSteps = std::vector<BuildStep>;

struct BuildPlan {
  std::vector<BuildSteps> stages;     // as BuildStages has them; none of one that is not needed
  std::vector<std::string> unused;    // of the arguments
  std::vector<std::string> warnings;  // to be said before the first step
};

/// Whether a commit leaves `path` out, whatever wrote it: what one machine has for itself (identity_names.h),
/// and what the VM layer brings.
[[nodiscard]] bool is_in_no_layer(std::string_view path);

/// An image that a stage begins with. Its platform is that of TARGETARCH and its like.
struct BaseImage {
  store::ImageConfig config;
  /// What that was read from (store::Image's config_text), for its shell and its triggers, which are refused.
  std::string document;
};
/// By the name that FROM has for it.
using BaseImages = std::map<std::string, BaseImage, std::less<>>;

/// All behind the FROM of each stage that is needed. `bases` has the images of all of them. EINVAL and
/// ENOTSUP say what is wrong, with its line.
Result<BuildPlan> plan_build(const BuildStages& stages, const BuildArguments& arguments,
                             const BaseImages& bases);

}  // namespace layerboot::launcher
