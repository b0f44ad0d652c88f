// Kernels from elsewhere than a package: built here, the host's, an image's, a file.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/kernel/kernel_store.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Makes `into`, which must not exist or be empty, a kernel directory (kernel_store.h) out of what `spec`
/// names, which is not Debian's package. `work` is an empty directory for what comes up on the way. No
/// privileges are needed; where we are root, an image's modules are read as a user that nobody else is, held
/// in `runtime` meanwhile. EINTR when interrupted. REQUIRES: the main thread, inside an InterruptScope.
Result<void> make_kernel(const KernelSpec& spec, const std::filesystem::path& work,
                         const std::filesystem::path& into, const std::filesystem::path& runtime);

/// The release that a bzImage says it is, from its setup header (the kernel's
/// Documentation/arch/x86/boot.rst). EINVAL when it is none.
Result<std::string> release_of_image(const std::filesystem::path& vmlinuz);

}  // namespace layerboot::launcher
