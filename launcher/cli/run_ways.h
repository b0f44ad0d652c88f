// Which options of `run` fit which way of running a VM. What would come to nothing there is refused, by one
// table in which every option is.
#pragma once

#include <string_view>
#include <vector>

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Ways that leave out some of what `run` else does. Several may hold at once.
enum class RunWay : unsigned {
  kForeignRoot = 1U << 0U,  // --socket-path: the root, and the VM layer in it, are another daemon's
  kDiskRoot = 1U << 1U,     // --disk-image: no daemon of ours serves the root
  kNoInitrd = 1U << 2U,     // no guest-init, and so no agent
  kContainer = 1U << 3U,    // as `packaged`
  kPackage = 1U << 4U,      // the same, by what is stored in the image
  kBuild = 1U << 5U,        // as a VM of `build --vm`
};

/// EINVAL names the first of `given` that does not fit, and says why.
Result<void> check_fits(RunWay way, const std::vector<GivenOption>& given);

/// The same of each way that `options` say.
Result<void> check_ways(const Options& options);

/// Whether the table has it: for the test that it has all.
[[nodiscard]] bool is_in_table(std::string_view option);

}  // namespace layerboot::launcher
