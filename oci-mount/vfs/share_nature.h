// Owner and mode of objects in a shared directory: the host's own where that can be, else recorded.
//
// A shared directory is other people's too, so a guest must not be able to leave anything in it that has
// rights of its own: set-id bits of files are never the host's. What the host would not or should not have is
// kept in an attribute, in the form that an ordinary user's upper has it in (overlay/recorded_stat.h). An
// object without one is as the host has it; for an ordinary user's daemon all of them are root's then, since
// the guest's root acts as that user.
#pragma once

#include <cstdint>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/recorded_stat.h"
#include "oci-mount/overlay/upper_calls.h"
#include "oci-mount/vfs/share_object.h"

namespace layerboot::vfs {

using Nature = overlay::RecordedStat;

/// Whose daemon this is: only root can give files away.
enum class Keeper : unsigned char { kRoot, kOrdinaryUser };

/// The mode that the host is to have for an object of `mode` (with the type bits).
[[nodiscard]] std::uint32_t host_mode(Keeper keeper, std::uint32_t mode);

/// Makes of `attr`, the host's word for what is at `place`, what the guest is to see.
Result<void> show_as_guest(Keeper keeper, overlay::Place place, Attr& attr);

/// Gives an open object (O_PATH will do) owner and mode; `now` is the host's word for it. Of symlinks, fifos
/// and sockets, which carry no attributes, an ordinary user's daemon keeps no owner.
Result<void> set_nature(Keeper keeper, int fd, const Attr& now, const Nature& wanted);

}  // namespace layerboot::vfs
