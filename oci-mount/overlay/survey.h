// Survey: what a walk over all of an upper, or of a shared directory, finds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/quota.h"
#include "oci-mount/overlay/tariff.h"

namespace layerboot::overlay {

/// Directories of the image that have been moved, which nothing but their redirect leads to, and those that
/// lead to them: parents first, each name once, so that a deep nest takes no more than its names.
struct WayToMoved {
  std::uint32_t parent = 0;  // the one in the list, counted from 1; 0: the walked directory itself
  std::string name;
};

struct Survey {
  Quota::Usage usage;  // hard links counted once, whiteouts as no inodes
  std::vector<WayToMoved> moved_directories;
};
/// Any depth takes one descriptor and no recursion.
Result<Survey> survey_directory(Keeping keeping, int root_fd, const Tariff& tariff);

}  // namespace layerboot::overlay
