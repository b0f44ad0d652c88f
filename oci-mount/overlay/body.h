// Bodies: what stands on the host for an object of the guest. Made, read and changed here alone, so that
// nothing else knows in which of two ways an upper is kept (FORMAT.md).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/recorded_stat.h"
#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::overlay {

/// What a body is to be, or is, to the guest: type, permissions, owner, device number.
using Nature = RecordedStat;

struct Body {
  UniqueFd fd;  // of a regular file
  struct stat st{};
};

/// Makes an object whole: a symlink with its target, all with owner and mode; nothing on failure.
Result<Body> make_body(Keeping keeping, Place place, const Nature& nature, std::string_view target);

/// Whether make_body() is one step on the host: if not, an object must be made elsewhere and then get its
/// name.
[[nodiscard]] bool is_made_at_once(Keeping keeping, const Nature& nature);

/// What the guest is to see of an object: `st` is the host's word.
Result<Nature> nature_at(Keeping keeping, Place place, const struct stat& st);

/// Gives an object that is there another owner and mode; its type stays what it is.
Result<void> set_nature_at(Keeping keeping, Place place, const Nature& nature);

/// After a power cut btrfs may have a symlink's body, synced by its directory alone, as empty: lstat(2) tells
/// its size. `st` is the host's word, and is read anew.
Result<void> mend_link_at(Keeping keeping, Place place, struct stat& st);

Result<std::string> link_target_at(Keeping keeping, Place place);

}  // namespace layerboot::overlay
