#include "launcher/cli/build_trees.h"

#include <system_error>
#include <utility>

#include "oci-mount/base/files.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

fs::path target_of(const StateDirs& dirs) { return dirs.cache / "build-trees"; }

}  // namespace

void BuildTrees::remove_leftovers(const StateDirs& dirs) {
  StagingDirectory::remove_leftovers(target_of(dirs));
}

Result<const BuildContext*> BuildTrees::tree_of(const std::string& image, const std::string& called) {
  if (const auto known = trees_.find(image); known != trees_.end()) return &known->second.context;
  if (!directory_) {
    LB_ASSIGN(auto made, StagingDirectory::create(target_of(dirs_)));
    directory_.emplace(std::move(made));
  }
  std::error_code error;
  const fs::path directory = fs::canonical(directory_->path(), error) / std::to_string(trees_.size());
  if (error) return fail(error.value(), directory_->path().string());
  LB_TRY(make_directories(directory, 0700));
  auto mount = ImageMount::mount({.oci_mount = options_.oci_mount,
                                  .image = image,
                                  .platform = store::platform_text(options_.platform),
                                  .added_layers = {},
                                  .mountpoint = directory,
                                  .show_progress = options_.show_progress});
  if (!mount && mount.error().code == EINTR) return std::unexpected(mount.error());
  if (!mount) return fail(EIO, called, " can't be mounted to be copied from");
  Tree tree{.context = {.directory = directory, .called = called, .is_root = true},
            .mount = *std::move(mount)};
  return &trees_.emplace(image, std::move(tree)).first->second.context;
}

}  // namespace layerboot::launcher
