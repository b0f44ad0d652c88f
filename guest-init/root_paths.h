// Places in the image's root, from outside of it.
#pragma once

#include <string>

namespace guest_init {

/// The directory `path` in the root, made with its parents where it is missing: a descriptor to name it by
/// (O_PATH); -1 and errno.
int make_directory_in_root(int root, const std::string& path);

/// Binds the file or directory `from` over what `target` names, which it closes. What fails is said, as
/// `what`.
void bind_into_root(const std::string& from, int target, const std::string& what);

}  // namespace guest_init
