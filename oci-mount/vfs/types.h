// The file system and its vocabulary, under the name that doors know them by.
#pragma once

#include "oci-mount/overlay/file_system.h"
#include "oci-mount/overlay/types.h"

namespace layerboot::vfs {

using overlay::AddEntry;
using overlay::Attr;
using overlay::AttrChange;
using overlay::Caller;
using overlay::Dirent;
using overlay::Entry;
using overlay::FileSystem;
using overlay::kRootId;
using overlay::kXattrKillSgid;
using overlay::NodeId;
using overlay::Opened;
using overlay::StatFs;
using overlay::Time;
using overlay::TimeChange;
using overlay::Writer;

}  // namespace layerboot::vfs
