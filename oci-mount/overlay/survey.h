// Survey: what a walk over all of an upper, or of a shared directory, finds.
#pragma once

#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/quota.h"
#include "oci-mount/overlay/tariff.h"

namespace layerboot::overlay {

struct Survey {
  Quota::Usage usage;  // hard links counted once, whiteouts as no inodes
  std::vector<std::string>
      moved_directories;  // paths below the directory of those with a redirect, parents first
};
/// Any depth takes one descriptor and no recursion.
Result<Survey> survey_directory(Keeping keeping, int root_fd, const Tariff& tariff);

}  // namespace layerboot::overlay
