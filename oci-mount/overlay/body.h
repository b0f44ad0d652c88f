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

/// Whether the target of a symlink (of anything else "") is data of its body: that has to be on the disk
/// before the body gets its name.
[[nodiscard]] bool is_target_data(Keeping keeping, std::string_view target);
/// Begins a body by such a target, synced. Waits for the host's disk: not to be called under a lock. Nothing
/// is at `place` on failure.
Result<UniqueFd> prepare_target(Place place, std::string_view target);

/// Makes an object whole: a symlink with its target, all with owner and mode; nothing on failure. `prepared`:
/// by prepare_target(), at the same place. REQUIRES: it is there where is_target_data().
Result<Body> make_body(Keeping keeping, Place place, const Nature& nature, std::string_view target,
                       UniqueFd prepared = {});

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
