// What a name, a path and a node's variable parts may be: the one place for these rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::tree {

inline constexpr std::size_t kMaxNameBytes = 255;       // NAME_MAX of Linux
inline constexpr std::size_t kMaxPathBytes = 4096;      // PATH_MAX of Linux
inline constexpr std::size_t kMaxPathDepth = 1024;      // components
inline constexpr std::size_t kMaxSymlinkBytes = 4095;   // PATH_MAX without its NUL
inline constexpr std::size_t kMaxXattrNameBytes = 255;  // XATTR_NAME_MAX of Linux
inline constexpr std::size_t kMaxXattrBytes =
    64 * 1024;                                         // names and values of one node; listxattr's bound too
inline constexpr std::size_t kMaxExtents = 64 * 1024;  // of one file

inline constexpr std::uint32_t kMaxLayers = 128;
inline constexpr std::uint32_t kMaxEntriesPerLayer = 4'000'000;
inline constexpr std::uint32_t kMaxNodes = 16'000'000;  // of one image

/// One component that may stand in a directory: 1 to kMaxNameBytes bytes, no '/', no NUL, not "." or "..".
[[nodiscard]] bool is_valid_name(std::string_view name);

/// A path as EntryView has it: clean and relative, within the bounds above; "" is the root. The error names
/// the rule, not the path.
Result<void> check_path(std::string_view path);

/// A symlink's target: 1 to kMaxSymlinkBytes bytes, no NUL.
[[nodiscard]] bool is_valid_symlink_target(std::string_view target);

/// The name of an extended attribute: 1 to kMaxXattrNameBytes bytes, no NUL.
[[nodiscard]] bool is_valid_xattr_name(std::string_view name);

/// "a/b" of "a/b/c", "" of "a"; and "c", "a".
[[nodiscard]] std::string_view parent_path(std::string_view path);
[[nodiscard]] std::string_view last_component(std::string_view path);

}  // namespace layerboot::tree
