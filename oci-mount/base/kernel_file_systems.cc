#include "oci-mount/base/kernel_file_systems.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace layerboot {

namespace {

struct KernelFileSystem {
  std::string_view name;
  std::uint64_t magic;
};

/// Those without a name in <linux/magic.h> are defined in the folder that is named.
constexpr auto kKernelFileSystems = std::to_array<KernelFileSystem>({
    {"proc", PROC_SUPER_MAGIC},
    {"sysfs", SYSFS_MAGIC},
    {"cgroup", CGROUP_SUPER_MAGIC},
    {"cgroup2", CGROUP2_SUPER_MAGIC},
    {"debugfs", DEBUGFS_MAGIC},
    {"tracefs", TRACEFS_MAGIC},
    {"securityfs", SECURITYFS_MAGIC},
    {"selinuxfs", SELINUX_MAGIC},
    {"smackfs", SMACK_MAGIC},
    {"bpf", BPF_FS_MAGIC},
    {"configfs", 0x62656570},  // fs/configfs
    {"efivarfs", EFIVARFS_MAGIC},
    {"binfmt_misc", BINFMTFS_MAGIC},
    {"devpts", DEVPTS_SUPER_MAGIC},
    {"pstore", PSTOREFS_MAGIC},
    {"nsfs", NSFS_MAGIC},
    {"fusectl", 0x65735543},  // fs/fuse
    {"mqueue", 0x19800202},   // ipc
    {"resctrl", RDTGROUP_SUPER_MAGIC},
    {"rpc_pipefs", 0x67596969},  // net/sunrpc
    {"nfsd", 0x6e667364},        // fs/nfsd
    {"functionfs", 0xa647361},   // drivers/usb/gadget
    {"xenfs", XENFS_SUPER_MAGIC},
});

}  // namespace

bool is_kernel_file_system(std::string_view type) {
  return std::ranges::find(kKernelFileSystems, type, &KernelFileSystem::name) != kKernelFileSystems.end();
}

bool is_on_kernel_file_system(int fd) {
  struct statfs host{};
  if (::fstatfs(fd, &host) != 0) return false;
  const auto magic = static_cast<std::uint64_t>(static_cast<std::uint32_t>(host.f_type));
  return std::ranges::find(kKernelFileSystems, magic, &KernelFileSystem::magic) != kKernelFileSystems.end();
}

}  // namespace layerboot
