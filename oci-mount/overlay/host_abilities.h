// What the host's file system can do that an upper asks of it, found out by trying. While an upper is opened,
// when nobody else has it: no lock.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/marks.h"

namespace layerboot::overlay {

struct HostAbilities {
  bool trusted_xattrs = true;             // and that we may set them: natively kept uppers need them
  bool user_xattrs = true;                // recorded uppers need them, a guest wants them
  bool nameless_files = true;             // O_TMPFILE, and names given by linkat(2); without, it takes longer
  std::vector<std::string_view> missing;  // what no upper can do without, in words

  [[nodiscard]] bool can_keep(Keeping keeping) const {
    return keeping == Keeping::kNative ? trusted_xattrs : user_xattrs;
  }
};

/// What the names of all that is made while trying begin with. What a crash leaves of it may be removed.
inline constexpr std::string_view kTrialPrefix = "trial-";

/// Tries everything out in `dir_fd`, an upper's work directory, and leaves nothing there. What can't be tried
/// now (on a full disk) is taken to be there: an upper on a full disk can still be opened, to make room.
HostAbilities try_host(int dir_fd);

/// "ext4", or the type's number where it is none that people keep uppers on.
std::string file_system_name(int fd);

/// "no A, no B and no C"; of at least one.
std::string list_missing(const std::vector<std::string_view>& missing);

}  // namespace layerboot::overlay
