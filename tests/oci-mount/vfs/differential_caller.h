// An operation's actor as a FileSystem is told of it, and which set-id bits the client says that it keeps.
#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "oci-mount/base/mode_bits.h"
#include "oci-mount/overlay/file_rules.h"
#include "tests/oci-mount/vfs/differential.h"

namespace layerboot::test {

inline vfs::Caller caller_of(const Actor& actor) {
  return {.uid = actor.uid, .gid = actor.gid, .also_in = actor.also_in, .umask = actor.umask};
}

/// setattr_should_drop_suidgid(): what a change by this actor leaves.
inline std::uint32_t kept_mode(const vfs::Attr& attr, const Actor& actor) {
  std::uint32_t mode = overlay::without_set_id(attr.mode);
  if (!actor.is_in(attr.gid)) mode &= ~static_cast<std::uint32_t>(S_ISGID);
  return mode & kPermissionBits;
}

}  // namespace layerboot::test
