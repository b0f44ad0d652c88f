// Places in the image's root, from outside of it.
#pragma once

#include <string>
#include <vector>

namespace guest_init {

/// The directory `path` in the root, made with its parents where it is missing: a descriptor to name it by
/// (O_PATH); -1 and errno.
int make_directory_in_root(int root, const std::string& path);

/// The image's volumes, as container engines have them: each is there, whether the image has it or not. What
/// can't be made is said, but in a root that is only read.
void make_volume_directories(int root, const std::vector<std::string>& volumes);

/// Binds the file or directory `from` over what `target` names, which it closes. What fails is said, as
/// `what`.
void bind_into_root(const std::string& from, int target, const std::string& what);

}  // namespace guest_init
