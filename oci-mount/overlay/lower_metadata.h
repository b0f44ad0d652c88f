// Owner, mode, attributes and times of the image's objects, onto objects of the upper.
#pragma once

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/lower.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/recorded_stat.h"
#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::overlay {

/// What the tree says of an object, as body.h wants to hear it.
[[nodiscard]] RecordedStat nature_of(const tree::NodeRecord& record);

/// Copies them. Not thread-safe. `lower` outlives it.
class LowerMetadata {
 public:
  LowerMetadata(const Lower& lower, Keeping keeping) : lower_(lower), keeping_(keeping) {}

  /// All of `id` onto `place`; times last, since the others change them.
  Result<void> copy(tree::NodeId id, Place place);

  enum class Existing { kReplaced, kKept };
  /// The attributes that the guest sees. One that the host refuses for good, by its name or as too large for
  /// it, is left out: the first of a session is warned of, others told at --debug.
  Result<void> copy_xattrs(tree::NodeId id, Place place, Existing existing);
  Result<void> copy_times(tree::NodeId id, Place place);

 private:
  void note_refused(tree::NodeId id, std::string_view name, const Error& error);

  const Lower& lower_;
  Keeping keeping_;
  bool warned_ = false;
};

}  // namespace layerboot::overlay
