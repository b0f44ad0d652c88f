// A kernel ready to boot with: fetched if it must be, kept ever after.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "launcher/host/architecture.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct Kernel {
  std::string release;  // as uname -r gives it
  std::filesystem::path vmlinuz;
  std::filesystem::path initrd;
  std::filesystem::path modules_tar;  // a layer for the guest's root; empty when the kernel has no modules
  /// Kernel arguments that it needs under TCG of QEMU before 10, and only there: without them the guest's
  /// memory is corrupted (kernel/DESIGN.md, "Emulated machines"). May be empty.
  std::string tcg_append;
};

/// Gives the kernel that `spec` names (parse_kernel_spec in kernel_store.h), with an initrd around
/// `guest_init_binary`. What is there already is used without running any other program or asking the
/// network; what is not is fetched into dirs.kernels(), whole or not at all. A directory's own initrd is
/// taken as it is (StoredKernel); else it is made anew when guest-init, or its busybox or e2fsck has changed:
/// the host's, or of another architecture those that were fetched with the kernel. EINVAL where guest-init is
/// for another machine; EINTR when interrupted. REQUIRES: the main thread.
Result<Kernel> prepare_kernel(const StateDirs& dirs, std::string_view spec,
                              const std::filesystem::path& guest_init_binary,
                              const Architecture& architecture = own_architecture());

/// Whether prepare_kernel() of this `spec` would find the kernel here and fetch nothing. Asks nobody.
Result<bool> is_kernel_here(const StateDirs& dirs, std::string_view spec);

}  // namespace layerboot::launcher
