// Where the programs are that the launcher starts.
#pragma once

#include <filesystem>
#include <string_view>

#include "launcher/host/architecture.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// This program's own file.
Result<std::filesystem::path> own_program();

/// `vfsd` or `oci-mount`: `given` when not empty; else beside this program as built
/// (../vfsd/vfsd and the like), as installed (../bin, ../libexec/layerboot), else in PATH. ENOENT names what
/// was looked for and the option to give.
Result<std::filesystem::path> find_vfsd(const std::filesystem::path& given);
Result<std::filesystem::path> find_oci_mount(const std::filesystem::path& given);

/// The guest-init for such a machine: of another one than this it is guest-init-NAME, in the same places.
/// ENOENT says how it is built.
Result<std::filesystem::path> find_guest_init(const std::filesystem::path& given,
                                              const Architecture& architecture = own_architecture());

/// passt, from PATH. ENOENT names the Debian package to install.
Result<std::filesystem::path> find_passt();

/// kernel/build.sh, in the source tree or as installed.
Result<std::filesystem::path> find_kernel_build();

/// image.sh, which builds the default images, likewise.
Result<std::filesystem::path> find_image_build();

/// The QEMU that is such a machine. ENOENT names the Debian package to install.
Result<std::filesystem::path> find_qemu(const std::filesystem::path& given,
                                        const Architecture& architecture = own_architecture());

/// The first executable file of that name in PATH; ENOENT otherwise.
Result<std::filesystem::path> find_in_path(std::string_view name);

}  // namespace layerboot::launcher
