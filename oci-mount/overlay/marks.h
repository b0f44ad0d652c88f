// How an upper directory says what it means: overlayfs's marks. Follows
// Documentation/filesystems/overlayfs.rst and fs/overlayfs/xattrs.c of Linux. Constants and pure functions:
// no lock.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::overlay {

/// How objects are kept on the host. Belongs to an upper for good (FORMAT.md).
enum class Keeping : unsigned char {
  kNative,    // by root: as themselves, with marks in trusted.*
  kRecorded,  // by an ordinary user: as plain files and directories, with the rest, and marks, in user.*
};

inline constexpr std::string_view kCapabilityXattr = "security.capability";

/// Names of the attributes on the host that are ours.
struct Marks {
  /// On a directory, "y": nothing of the lower directory shows through.
  std::string_view opaque;
  /// On a directory: the absolute path of the lower directory it merges with, when not the one of its own
  /// place. On a metacopy: of the file that has its data.
  std::string_view redirect;
  /// Ours, hidden by overlayfs as all of its namespace: on a copied-up object, the lower path it was copied
  /// from, so that it keeps its inode number when the daemon starts anew.
  std::string_view origin;
  /// On a regular file, empty: its data is still the image's file's, which is the one of its own place unless
  /// `redirect` names another.
  std::string_view metacopy;
};

inline constexpr Marks kNativeMarks{.opaque = "trusted.overlay.opaque",
                                    .redirect = "trusted.overlay.redirect",
                                    .origin = "trusted.overlay.layerboot.origin",
                                    .metacopy = "trusted.overlay.metacopy"};
/// As overlayfs's with its option userxattr.
inline constexpr Marks kRecordedMarks{.opaque = "user.overlay.opaque",
                                      .redirect = "user.overlay.redirect",
                                      .origin = "user.overlay.layerboot.origin",
                                      .metacopy = "user.overlay.metacopy"};

[[nodiscard]] constexpr const Marks& marks_of(Keeping keeping) {
  return keeping == Keeping::kNative ? kNativeMarks : kRecordedMarks;
}

/// A whiteout is a character device 0:0.
[[nodiscard]] inline bool is_whiteout(const struct stat& st) {
  return S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

/// Whether an object of the guest would be a whiteout on the host if it were made as itself.
[[nodiscard]] inline bool looks_like_whiteout(std::uint32_t mode, std::uint32_t rdev) {
  return S_ISCHR(mode) && rdev == 0;
}

/// The name under which the guest's extended attribute is kept on the host. Native: its own
/// "trusted.overlay.x" becomes "trusted.overlay.overlay.x", as nested overlayfs escapes it. Recorded: all but
/// plain user attributes become "user.overlay.layerboot." and their name. EOPNOTSUPP for a namespace not
/// served.
Result<std::string> host_xattr_name(Keeping keeping, std::string_view guest_name);

/// The guest's name for a host attribute; nothing for what the guest must not see.
std::optional<std::string> guest_xattr_name(Keeping keeping, std::string_view host_name);

/// Whether a client may ask for attributes of that name at all.
[[nodiscard]] bool is_served_xattr(std::string_view guest_name);

}  // namespace layerboot::overlay
