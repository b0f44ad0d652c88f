// The top of an upper: it is "/" in the VM, and no copy-up ever makes it. Before a session's first
// request: no lock.
#pragma once

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/lower_metadata.h"
#include "oci-mount/overlay/upper.h"

namespace layerboot::overlay {

/// Gives DIR/upper owner, mode, attributes and times of the image's "/", once in its life: the mark `origin`
/// says that it has them, and that all it has from then on is the guest's. An upper that an earlier version
/// made, which gave its top what the host gives a new directory, keeps what can only be the guest's: an
/// owner, a mode or an ACL that the host would not have given, the times if anything was written (FORMAT.md).
Result<void> adopt_image_root(const Upper& upper, const Lower& lower, LowerMetadata& metadata);

}  // namespace layerboot::overlay
