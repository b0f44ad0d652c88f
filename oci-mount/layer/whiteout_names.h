// How a layer says that something of the layers below it is gone: names of its entries (OCI image spec,
// layer.md "Whiteouts"); and what is not to be taken for that.
#pragma once

#include <string_view>

namespace layerboot::layer {

inline constexpr std::string_view kWhiteoutPrefix = ".wh.";      // and the name that is gone
inline constexpr std::string_view kMetaPrefix = ".wh..wh.";      // no name: aufs's own
inline constexpr std::string_view kOpaqueName = ".wh..wh..opq";  // all that the directory had

/// The marks of overlayfs, which hides them.
inline constexpr std::string_view kOverlayXattrPrefix = "trusted.overlay.";
/// What a layer that was written of a VM's upper says of the guest's own objects (../tree/FORMAT.md), in the
/// namespace that overlayfs hides.
inline constexpr std::string_view kOwnXattrPrefix = "trusted.overlay.layerboot.";
/// "y" on a character device 0:0: it is the guest's own, and no mark of a layer's. On a native upper, on the
/// empty file that stands for it.
inline constexpr std::string_view kDeviceZeroXattr = "trusted.overlay.layerboot.char-0-0";
inline constexpr std::string_view kDeviceZeroValue = "y";
/// And the name of an attribute, "trusted.X": it is the guest's.
inline constexpr std::string_view kGuestXattrPrefix = "trusted.overlay.layerboot.guest.";
inline constexpr std::string_view kTrustedPrefix = "trusted.";

}  // namespace layerboot::layer
