#include "launcher/kernel/kernel_choice.h"

#include <vector>

#include "launcher/host/programs.h"
#include "launcher/kernel/kernel_store.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {}  // namespace

Result<Kernel> kernel_for(const StateDirs& dirs, const std::string& kernel,
                          const std::filesystem::path& guest_init, const Architecture& architecture) {
  LB_ASSIGN(const auto program, find_guest_init(guest_init, architecture));
  return prepare_kernel(dirs, kernel, program, architecture);
}

Result<void> check_no_initrd(const Kernel& kernel, bool disk_root) {
  LB_ASSIGN(const std::string config,
            read_file(kernel.vmlinuz.parent_path() / "config", kMaxKernelConfigBytes));
  const std::vector<const char*> needed =
      disk_root ? std::vector<const char*>{"VIRTIO_PCI", "VIRTIO_BLK", "EXT4_FS"}
                : std::vector<const char*>{"VIRTIO_PCI", "VIRTIO_FS"};
  for (const char* option : needed) {
    if (!config_has_builtin(config, option))
      return fail(EINVAL, "--no-initrd: kernel ", kernel.release, " has ", option,
                  " not built in; --kernel custom has");
  }
  return {};
}

}  // namespace layerboot::launcher
