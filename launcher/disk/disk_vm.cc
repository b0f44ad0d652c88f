#include "launcher/disk/disk_vm.h"

#include <system_error>

#include "launcher/disk/overlay_check.h"
#include "launcher/kernel/cpio.h"
#include "launcher/vm/vm_layer.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxPathBytes = 4096;
constexpr std::size_t kMaxInitrdBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxLayerBytes = std::size_t{64} << 20;

Result<void> write_file(const fs::path& path, std::string_view first, std::string_view second) {
  LB_ASSIGN(AtomicFile file, AtomicFile::create(path, 0600));
  LB_TRY(file.append(as_bytes(first)));
  LB_TRY(file.append(as_bytes(second)));
  return file.commit();
}

/// The VM's disk on its base. The base's name is noted before it is made, so that no gc takes it meanwhile.
Result<void> prepare_root(const StateDirs& dirs, const DiskPlan& plan, const VmDirectory& directory,
                          VmConfig& config) {
  LB_ASSIGN(const fs::path wanted, base_disk_path(dirs, plan));
  config.root_disk = directory.paths().root_disk(config.disk_format);
  const bool is_overlay = config.disk_format == DiskFormat::kQcow2;
  if (is_overlay) {
    LB_ASSIGN(config.root_disk_base, absolute_path(wanted));
  }
  std::error_code ignored;
  if (fs::exists(config.root_disk, ignored)) {
    LB_ASSIGN(const std::string base, read_file(directory.paths().root_disk_base(), kMaxPathBytes));
    if (base != wanted.string()) {
      return fail(EINVAL, "the disk of ", config.name, " was made of another image, or with another size (",
                  base, "): take another --name, or remove ", config.root_disk.string(), " to begin anew");
    }
    if (!fs::exists(wanted, ignored))
      return fail(ENOENT, "the disk of ", config.name, " lies on ", base, ", which is gone");
    return is_overlay ? check_overlay(config.root_disk, wanted) : Result<void>();
  }
  LB_TRY(write_file(directory.paths().root_disk_base(), wanted.string(), {}));
  LB_ASSIGN(const fs::path base, base_disk(dirs, plan));
  return is_overlay ? make_overlay(base, config.root_disk) : copy_disk(base, config.root_disk);
}

/// The kernel's initrd, and behind it the VM layer, which guest-init puts on the disk.
Result<void> prepare_initrd(const VmDirectory& directory, VmConfig& config) {
  if (config.initrd.empty()) return {};
  LB_TRY(write_vm_layer(config, directory.paths().layer()));
  LB_ASSIGN(const std::string layer, read_file(directory.paths().layer(), kMaxLayerBytes));
  LB_ASSIGN(const std::string initrd, read_file(config.initrd, kMaxInitrdBytes));
  CpioWriter archive;
  LB_TRY(archive.add_file("vm-layer.tar", layer));
  LB_TRY(write_file(directory.paths().initrd(), initrd, archive.finish()));
  config.initrd = directory.paths().initrd();
  return {};
}

}  // namespace

Result<void> check_root_disk(const VmPaths& paths) {
  const fs::path overlay = paths.root_disk(DiskFormat::kQcow2);
  std::error_code ignored;
  if (!fs::exists(overlay, ignored)) return {};
  LB_ASSIGN(const std::string base, read_file(paths.root_disk_base(), kMaxPathBytes));
  return check_overlay(overlay, base);
}

Result<void> prepare_disk_vm(const StateDirs& dirs, const DiskPlan& plan, const VmDirectory& directory,
                             const Kernel& kernel, VmConfig& config) {
  LB_TRY(prepare_root(dirs, plan, directory, config));
  // Without an initrd there is no one to mount it.
  if (!kernel.modules_tar.empty() && !config.initrd.empty()) {
    LB_ASSIGN(config.modules_disk, modules_disk(dirs, plan.oci_mount, kernel.modules_tar, kernel.release));
  }
  return prepare_initrd(directory, config);
}

}  // namespace layerboot::launcher
