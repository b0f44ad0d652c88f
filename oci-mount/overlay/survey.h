// Survey: what a walk over all of an upper, or of a shared directory, finds. No state is kept, so no
// lock guards it; but it finds one moment's directory only where nothing changes that meanwhile: before a
// session's first request, or under the Overlay's whole lock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/late_growth.h"
#include "oci-mount/overlay/list_memory.h"
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
  std::optional<ListMemory> memory = std::nullopt;  // what the list takes
  /// What was counted for each file that may take another time more, or less: of those asked for that are
  /// there, and of those that the host has allocated ahead for, up to kMostAhead. By their inodes.
  LateFilesByInode late_files = {};
  /// Few enough for a ledger to remember them beside those that it comes to know.
  static constexpr std::size_t kMostAhead = LateGrowth::kMaxFiles / 4;

  /// Adds to the list, and pays for that; ENOMEM at the memory limit.
  Result<void> add(WayToMoved way);
};
/// Any depth takes one descriptor and no recursion. `memory` pays for what is remembered on the way, and for
/// the list as long as a copy of it lives: ENOMEM at its limit. Null where nobody keeps books. `late`: files
/// to be told of one by one, if late files are to be told of at all.
Result<Survey> survey_directory(Keeping keeping, int root_fd, const Tariff& tariff,
                                MemoryBudget* memory = nullptr, const LateFilesByInode* late = nullptr);

}  // namespace layerboot::overlay
