// What a name, a path, a symlink's target and an extended attribute may be: the one place for these rules.
// Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot {

inline constexpr std::size_t kMaxNameBytes = 255;       // NAME_MAX of Linux
inline constexpr std::size_t kMaxPathBytes = 4096;      // PATH_MAX of Linux
inline constexpr std::size_t kMaxPathDepth = 1024;      // components
inline constexpr std::size_t kMaxSymlinkBytes = 4095;   // PATH_MAX without its NUL
inline constexpr std::size_t kMaxXattrNameBytes = 255;  // XATTR_NAME_MAX of Linux
inline constexpr std::size_t kMaxXattrBytes = 64
                                              << 10;  // names and values of one node; listxattr's bound too

/// One component that may stand in a directory: 1 to kMaxNameBytes bytes, no '/', no NUL, not "." or "..".
[[nodiscard]] bool is_valid_name(std::string_view name);

/// A clean, relative path (no '/' at either end, no "", "." or ".." component) within the bounds above; "" is
/// the root. The error names the rule, not the path.
Result<void> check_path(std::string_view path);

/// Adds what `path` says to `parts`, as if every directory on its way were one: "" and "." add nothing, ".."
/// takes one away and stops at the root. Views into `path`; what no bound limits here is limited by the
/// caller.
void add_clean_parts(std::vector<std::string_view>& parts, std::string_view path);

/// "a/b" of {"a", "b"}.
[[nodiscard]] std::string joined_path(const std::vector<std::string_view>& parts);

/// A symlink's target: 1 to kMaxSymlinkBytes bytes, no NUL.
[[nodiscard]] bool is_valid_symlink_target(std::string_view target);

/// The name of an extended attribute: 1 to kMaxXattrNameBytes bytes, no NUL.
[[nodiscard]] bool is_valid_xattr_name(std::string_view name);

/// "a/b" of "a/b/c", "" of "a"; and "c", "a".
[[nodiscard]] std::string_view parent_path(std::string_view path);
[[nodiscard]] std::string_view last_component(std::string_view path);

}  // namespace layerboot
