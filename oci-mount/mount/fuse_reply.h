// From the file system's vocabulary to libfuse's: attributes, entries and errors on their way out.
#pragma once

#include <fuse3/fuse_lowlevel.h>
#include <sys/stat.h>

#include "oci-mount/base/result.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::mount {

/// How long the kernel may remember what it is told: for good. Nobody but this kernel changes what it sees.
inline constexpr double kForEverSeconds = 1e9;

[[nodiscard]] struct stat stat_of(const vfs::Attr& attr);
/// An Entry with id 0 is a name that does not exist, to be remembered as that.
[[nodiscard]] fuse_entry_param entry_param_of(const vfs::Entry& entry);

/// The one place where an Error becomes what the kernel sees. What a person should know of (EIO) is logged.
void reply_error(fuse_req_t request, const Error& error);
void reply_entry(fuse_req_t request, const Result<vfs::Entry>& entry);
void reply_attr(fuse_req_t request, const Result<vfs::Attr>& attr);
void reply_done(fuse_req_t request, const Result<void>& done);
/// getxattr and listxattr: the bytes, or their count when `room_bytes` is 0; ERANGE when there is too little
/// room.
void reply_xattr(fuse_req_t request, const Result<std::string>& value, std::size_t room_bytes);

}  // namespace layerboot::mount
