// The steps of a `build --vm`, carried out stage by stage.
#pragma once

#include <map>
#include <string>

#include "launcher/cli/build_vm.h"
#include "launcher/images/build_cache.h"
#include "launcher/images/build_plan.h"
#include "launcher/images/build_stages.h"
#include "launcher/images/context_ignore.h"
#include "launcher/images/image_build.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// An image that a stage begins with or is copied from, or that a stage has come to.
struct BuildImage {
  std::string image;   // what open_image() takes
  std::string digest;  // of its manifest
};
/// By the name that the Containerfile has for it.
using BuildImages = std::map<std::string, BuildImage, std::less<>>;

/// What is to be built, and of what.
struct BuildRun {
  const StateDirs& dirs;
  const BuildOptions& options;
  const BuildContext& context;
  const BuildVmOptions& vms;
  const BuildCache& cache;
  const BuildStages& stages;
  const BuildPlan& plan;
  const BuildImages& images;  // all of images_of()
};

/// Gives the digest of the last stage's image, which has the name that the options say. An error tells the
/// line; nothing of the VM is left then, and no mount. EINTR when interrupted. REQUIRES: as BuildVm.
Result<std::string> carry_out(const BuildRun& run);

}  // namespace layerboot::launcher
