// The file system's vocabulary, under the name that doors know it by.
#pragma once

#include "oci-mount/overlay/types.h"

namespace layerboot::vfs {

using overlay::AddEntry;
using overlay::Attr;
using overlay::AttrChange;
using overlay::Caller;
using overlay::Dirent;
using overlay::Entry;
using overlay::kRootId;
using overlay::kXattrKillSgid;
using overlay::NodeId;
using overlay::StatFs;
using overlay::Time;
using overlay::TimeChange;

}  // namespace layerboot::vfs
