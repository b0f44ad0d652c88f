// What the control socket is asked and answers: one JSON object a line, both ways. The protocol is in
// DESIGN.md, "Control socket".
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/overlay/quota.h"
#include "vfsd/fuse/request_counts.h"

namespace layerboot::vfsd {

/// What may be asked about and changed. Borrowed; all of it is thread-safe.
struct ControlTarget {
  overlay::Quota* quota = nullptr;       // null: read-only, nothing to resize
  const MemoryBudget* memory = nullptr;  // null: not shown
  bool inodes_follow_bytes = true;       // no number of inodes was asked for at the start
  std::function<void(fuse::RequestCounts&)> add_counts;
  std::function<bool()> has_front_end;
};

inline constexpr std::size_t kMaxControlLineBytes = 4096;

/// The answer to `line`, with its newline. Whatever is wrong with the line is said in the answer.
std::string answer_control(std::string_view line, const ControlTarget& target);

}  // namespace layerboot::vfsd
