// Where things are in a container image made by `layerboot package`, as paths from its root.
#pragma once

#include <string_view>

namespace layerboot::launcher {

inline constexpr std::string_view kPackageDirectory = "/usr/share/layerboot/package";
/// The VM's image, as an OCI layout; its tag is kPackagedTag.
inline constexpr std::string_view kPackagedImage = "/usr/share/layerboot/package/image";
inline constexpr std::string_view kPackagedTag = "latest";
/// A kernel as --kernel takes it, with its initrd.
inline constexpr std::string_view kPackagedKernel = "/usr/share/layerboot/package/kernel";
/// Options of `run`, a word a line.
inline constexpr std::string_view kPackagedOptions = "/usr/share/layerboot/package/options";

/// What is kept: one volume. Sockets lie where every container may write, and several containers, as those of
/// a pod, may be in one place: packaged_runtime() (packaged_start.h).
inline constexpr std::string_view kPackagedState = "/var/lib/layerboot";
inline constexpr std::string_view kPackagedPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
inline constexpr std::string_view kPackagedData = "/var/lib";
inline constexpr std::string_view kPackagedCache = "/var/lib/layerboot/cache";
inline constexpr std::string_view kPackagedRuntime = "/dev/shm";

}  // namespace layerboot::launcher
