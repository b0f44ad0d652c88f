// Where the programs are that the launcher starts.
#pragma once

#include <filesystem>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// `vfsd`, `guest-init` or `oci-mount`: `given` when not empty; else beside this program as built
/// (../vfsd/vfsd and the like), as installed (../bin, ../libexec/layerboot), else in PATH. ENOENT names what
/// was looked for and the option to give.
Result<std::filesystem::path> find_vfsd(const std::filesystem::path& given);
Result<std::filesystem::path> find_guest_init(const std::filesystem::path& given);
Result<std::filesystem::path> find_oci_mount(const std::filesystem::path& given);

/// passt, from PATH. ENOENT names the Debian package to install.
Result<std::filesystem::path> find_passt();

/// kernel/build.sh, in the source tree or as installed.
Result<std::filesystem::path> find_kernel_build();

/// QEMU for this host's architecture. ENOENT names the Debian package to install.
Result<std::filesystem::path> find_qemu(const std::filesystem::path& given);

/// The first executable file of that name in PATH; ENOENT otherwise.
Result<std::filesystem::path> find_in_path(std::string_view name);

}  // namespace layerboot::launcher
