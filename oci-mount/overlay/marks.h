// How an upper directory says what it means: overlayfs's marks. Follows
// Documentation/filesystems/overlayfs.rst and fs/overlayfs/xattrs.c of Linux.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::overlay {

/// On a directory, "y": nothing of the lower directory shows through.
inline constexpr std::string_view kOpaqueXattr = "trusted.overlay.opaque";
/// On a directory: the absolute path of the lower directory it merges with, when not the one of its own
/// place.
inline constexpr std::string_view kRedirectXattr = "trusted.overlay.redirect";
/// Ours, hidden by overlayfs as all of its namespace: on a copied-up object, the lower path it was copied
/// from, so that it keeps its inode number when the daemon starts anew.
inline constexpr std::string_view kOriginXattr = "trusted.overlay.layerboot.origin";

/// A whiteout is a character device 0:0.
[[nodiscard]] inline bool is_whiteout(const struct stat& st) {
  return S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

/// The name under which the guest's extended attribute is kept on the host: its own "trusted.overlay.x"
/// becomes "trusted.overlay.overlay.x", as nested overlayfs escapes it. EOPNOTSUPP for a namespace not
/// served.
Result<std::string> host_xattr_name(std::string_view guest_name);

/// The guest's name for a host attribute; nothing for what the guest must not see.
std::optional<std::string> guest_xattr_name(std::string_view host_name);

}  // namespace layerboot::overlay
