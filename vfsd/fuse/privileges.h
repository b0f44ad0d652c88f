// What Linux's client leaves to its server of a file's set-id bits, when somebody changes the file who may
// not keep them (HANDLE_KILLPRIV_V2). Follows fs/attr.c and fs/fuse/{dir,file}.c of Linux 6.1 and 6.12.
#pragma once

#include <cstdint>

#include "oci-mount/vfs/types.h"
#include "vfsd/fuse/ops.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

/// For how long a client may believe `attr`, where it may believe the entry for `entry_seconds`. Set-id bits
/// of a file are asked for at each use: a WRITE takes them away, and its reply can't tell.
[[nodiscard]] std::uint64_t attr_valid_seconds(const vfs::Attr& attr, std::uint64_t entry_seconds);

/// Adds to `change` what the SETATTR `in` takes away without naming it. With HANDLE_KILLPRIV_V2, one that
/// names nothing at all is Linux's file_remove_privs(), which comes before each write(2), fallocate(2) and
/// copy_file_range(2) of somebody who may not keep the bits, or chown(2) with nothing to change.
void add_dropped_privileges(const Call& call, const fuse_setattr_in& in, vfs::AttrChange& change);

}  // namespace layerboot::vfsd::fuse
