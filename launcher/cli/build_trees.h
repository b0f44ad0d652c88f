// BuildTrees: the images that `COPY --from` copies from, mounted.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "launcher/host/image_mount.h"
#include "launcher/host/staging_directory.h"
#include "launcher/images/context_ignore.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

struct BuildTreesOptions {
  std::filesystem::path oci_mount;
  store::Platform platform;
  bool show_progress = true;
};

/// Each image is mounted read-only when it is first asked for, and until the object goes. REQUIRES: an
/// InterruptScope, on the main thread.
class BuildTrees {
 public:
  BuildTrees(const StateDirs& dirs, BuildTreesOptions options) : dirs_(dirs), options_(std::move(options)) {}

  /// Removes the directories that builds which were killed have left.
  static void remove_leftovers(const StateDirs& dirs);

  /// Lent. `image` is what open_image() takes, `called` is for messages. EINTR when interrupted.
  Result<const BuildContext*> tree_of(const std::string& image, const std::string& called);

 private:
  struct Tree {
    BuildContext context;
    ImageMount mount;
  };

  const StateDirs& dirs_;
  BuildTreesOptions options_;
  std::optional<StagingDirectory> directory_;  // of mountpoints; goes after them
  std::map<std::string, Tree> trees_;
};

}  // namespace layerboot::launcher
