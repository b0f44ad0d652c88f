// BuildVm: the VM that one step of a `build --vm` is done in. Booted, told what to do, stopped, committed,
// and gone with all that it was.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "guest-init/users.h"
#include "launcher/images/build_plan.h"
#include "launcher/images/context_ignore.h"
#include "launcher/images/image_commit.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// What all VMs of a build have in common.
struct BuildVmOptions {
  std::vector<std::string> run_words;  // options of run
  store::Platform platform = store::host_platform();
  std::filesystem::path oci_mount;
  bool show_progress = true;
};

/// Works by other runs of this program, which an interrupt ends. REQUIRES: an InterruptScope, on the main
/// thread.
class BuildVm {
 public:
  /// Removes what builds that were killed have left.
  static void remove_leftovers(const StateDirs& dirs);

  /// Whether the image has it all: no VM is needed for directories that are there.
  static bool has_all(const std::string& image, const std::vector<BuildAction>& actions,
                      const BuildVmOptions& options);

  /// Boots `image`, and comes back when it is up. One without an init of its own that it would boot gets a
  /// shell that waits.
  static Result<BuildVm> boot(const StateDirs& dirs, const std::string& image, const BuildVmOptions& options);

  BuildVm(BuildVm&& other) noexcept;
  BuildVm& operator=(BuildVm&&) = delete;
  BuildVm(const BuildVm&) = delete;
  BuildVm& operator=(const BuildVm&) = delete;
  ~BuildVm();

  /// Copies; the directory is made; or the command is run to its end, and what it says is said on standard
  /// error. An Error when it ends with another status than 0, with that.
  Result<void> carry_out(const BuildAction& action, const BuildContext& context);
  /// Powers it off, and makes an image of it. `commit` says how that is to be. Gives its digest.
  Result<std::string> commit(CommitOptions commit);

 private:
  BuildVm(const StateDirs& dirs, std::string name, const BuildVmOptions& options, UniqueFd lock);
  Result<void> copy(const CopyAction& action, const BuildContext& context);
  Result<void> run(const RunAction& action);
  Result<void> make_directory(const BuildAction& action);
  /// As the guest's own files have it. ENOENT where they do not.
  [[nodiscard]] Result<guest_init::Identity> identity_of(const std::string& owner) const;
  /// Of the guest's; "" where there is none.
  [[nodiscard]] Result<std::string> small_file(const std::string& path) const;
  /// A tar that `write` writes, unpacked in the guest.
  using WriteTar =
      std::function<Result<void>(const std::function<Result<void>(std::span<const std::byte>)>&)>;
  Result<void> unpack(const WriteTar& write);

  const StateDirs* dirs_;
  std::string name_;
  const BuildVmOptions* options_;
  UniqueFd lock_;  // -1 once moved from
};

}  // namespace layerboot::launcher
