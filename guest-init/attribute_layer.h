// The extended attributes of an image below an overlayfs, without a request for each of its objects.
//
// Overlayfs asks its lower file system for an attribute of each file and directory that it looks up
// (ovl_check_metacopy_xattr() and ovl_check_opaquedir_xattr() in Linux's fs/overlayfs), and FUSE keeps no
// answer: a walk over a tree was 11,570 GETXATTR in 15,000 requests. Few objects have any attribute, so these
// are laid over the image on a tmpfs, files as metacopies whose data is the image's, and the image is not
// asked any more.
#pragma once

#include <string>
#include <string_view>

namespace guest_init {

/// Asks for the paths, makes the layer and mounts it on `where`. True when it is to be a lower directory
/// above `image`. Otherwise none is needed, or the image is asked as ever: where the daemon does not know the
/// question, too many objects have attributes, or the tmpfs can't hold theirs.
bool lay_attributes(const std::string& image, const std::string& where);

/// Makes in the empty directory `layer` what stands at `paths` in `image`, a NUL behind each, with the
/// directories that hold it: owners, modes, times and attributes; of a file no data. False with errno.
/// REQUIRES: no symlink on the paths within `image`.
bool fill_attribute_layer(const std::string& image, const std::string& layer, std::string_view paths);

}  // namespace guest_init
