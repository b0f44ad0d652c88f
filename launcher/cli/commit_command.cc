#include "launcher/cli/commit_command.h"

#include <cstdio>
#include <utility>

#include "launcher/cli/commit_source.h"
#include "launcher/cli/store_commands.h"
#include "launcher/cli/written_content.h"
#include "launcher/host/programs.h"
#include "launcher/images/image_change.h"
#include "launcher/images/image_commit.h"
#include "launcher/images/image_name.h"
#include "oci-mount/base/log.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

/// By which the VM's record is to name it: as the person has, unless something else goes by that name. An
/// Error where it can't be opened: a VM that went on from that would have lost all.
Result<std::string> name_of_new_image(const StateDirs& dirs, const std::string& name,
                                      const std::string& digest, const store::Platform& platform) {
  std::string by_digest = str_cat("image@", digest);
  LB_ASSIGN(const store::Image made, store::open_image(by_digest, dirs, {.platform = platform}));
  if (name.empty()) return by_digest;
  const auto named = supply_image(dirs, name, kAsItIs);
  return named && is_image(dirs, *named, made.chain_id.text(), platform) ? name : by_digest;
}

Result<void> go_on_from(const StateDirs& dirs, const Options& options, const std::string& digest,
                        const store::Platform& platform, const CommitSource& source) {
  LB_ASSIGN(const std::string image, name_of_new_image(dirs, options.image_name, digest, platform));
  LB_TRY(source.stopped()->go_on_from(image, source.identity()));
  log_info("VM ", options.name, " goes on from ", image, ", with nothing written");
  return {};
}

}  // namespace

Result<void> commit_vm(const StateDirs& dirs, const Options& options) {
  CommitOptions commit = options.commit;
  if (!options.image_name.empty()) {
    LB_ASSIGN(commit.name, name_to_give(options.image_name));
  }
  commit.changes = completed_changes(std::move(commit.changes));
  LB_ASSIGN(CommitSource source, CommitSource::open(dirs, options.name, options.pause, commit));
  if (options.rebase && source.stopped() == nullptr)
    return fail(EBUSY, "VM ", options.name, " is running: --rebase needs it stopped");
  commit.before_reading = [&source] { return source.hold_still(); };
  commit.after_reading = [&source] { return source.let_go(); };
  // It stays the machine that it was.
  commit.keep_identity = commit.keep_identity || options.rebase;
  LB_ASSIGN(commit.oci_mount, find_oci_mount(options.oci_mount));
  commit.show_progress = options.log_level >= LogLevel::kInfo;
  auto digest = commit_image(dirs, commit);
  if (!digest) return while_doing(digest.error(), "cannot commit ", options.name);
  std::printf("%s\n", digest->c_str());
  if (!options.rebase) return {};
  const auto done = go_on_from(dirs, options, *digest, commit.platform, source);
  if (!done)
    return while_doing(done.error(), "the image is made, but ", options.name, " does not go on from it");
  return {};
}

}  // namespace layerboot::launcher
