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

/// How an object becomes whole on the host. Under its own name it may only come in one step: a cut or a kill
/// after the first of several would show it with another's owner.
enum class Making {
  kAtOnce,    // the host makes it with the owner and mode that it is to have
  kByLink,    // a regular file: without a name, which it gets last
  kElsewhere  // in the work directory, from where it is moved
};

/// What the host gives an object by itself.
struct MadeByHost {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;            // unless the directory hands its group down
  bool hands_down_group = false;    // the directory's set-group-id bit
  bool has_nameless_files = false;  // HostAbilities::nameless_files
};
[[nodiscard]] Making making_of(Keeping keeping, const Nature& nature, const MadeByHost& host);

/// Makes an object whole: a symlink with its target, all with owner and mode; nothing on failure. `prepared`:
/// by prepare_target(), at the same place. REQUIRES: it is there where is_target_data(); `place` is one in
/// the work directory with Making::kElsewhere.
Result<Body> make_body(Keeping keeping, Making making, Place place, const Nature& nature,
                       std::string_view target, UniqueFd prepared = {});

/// What the guest is to see of an object: `st` is the host's word.
Result<Nature> nature_at(Keeping keeping, Place place, const struct stat& st);

/// Gives an object that is there another owner and mode; its type stays what it is.
Result<void> set_nature_at(Keeping keeping, Place place, const Nature& nature);

/// After a power cut btrfs may have a symlink's body, synced by its directory alone, as empty: lstat(2) tells
/// its size. `st` is the host's word, and is read anew.
Result<void> mend_link_at(Keeping keeping, Place place, struct stat& st);

Result<std::string> link_target_at(Keeping keeping, Place place);

}  // namespace layerboot::overlay
