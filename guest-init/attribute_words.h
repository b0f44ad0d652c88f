// What the guest asks the daemon about an image's extended attributes, as attributes of the image's root, so
// that every server may be asked: others than vfsd have no such attributes. FORMAT.md has them.
#pragma once

namespace guest_init {

/// Its value: the paths below the root of all objects that have attributes, each name of a file, with a NUL
/// behind each. ENODATA where attributes can change, E2BIG where the paths are more than fit.
inline constexpr const char* kAttributedPaths = "trusted.layerboot.attributed";
/// The daemon answers ENOSYS, upon which Linux asks for no attribute any more until the next mount
/// (fuse_getxattr() in fs/fuse/xattr.c). An error of kAttributedPaths where that one has none.
inline constexpr const char* kForgoAttributes = "trusted.layerboot.forgo";

}  // namespace guest_init
