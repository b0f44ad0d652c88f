#include "launcher/kernel/prepare_kernel.h"

#include <xxhash.h>

#include <cstdio>
#include <system_error>

#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "launcher/kernel/initrd.h"
#include "launcher/kernel/kernel_package.h"
#include "launcher/kernel/kernel_source.h"
#include "launcher/kernel/kernel_store.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxModulesCpioBytes = std::size_t{512} << 20;
/// Part of an initrd's name: another layout of the archive gives another initrd.
constexpr std::string_view kInitrdFormat = "2";

std::string hash_name(std::string_view bytes) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx",
                static_cast<unsigned long long>(XXH3_64bits(bytes.data(), bytes.size())));
  return text;
}

bool is_stored(const fs::path& kernel) {
  std::error_code ignored;
  return fs::exists(kernel / "vmlinuz", ignored);
}

/// Of a distribution's packages: there are no secrets in them, and a package tool that drops its privileges
/// must be able to pass through.
bool is_public(const KernelSpec& spec) {
  return spec.kind == KernelSpec::Kind::kDebian || spec.kind == KernelSpec::Kind::kCustom;
}

Result<StoredKernel> stored_or_fetched(const StateDirs& dirs, const KernelSpec& spec,
                                       const Architecture& architecture) {
  if (spec.kind == KernelSpec::Kind::kDirectory) return open_kernel(spec.directory);
  const fs::path target = dirs.kernels() / spec.store_name();
  if (!is_stored(target)) {
    LB_ASSIGN(StagingDirectory staging, StagingDirectory::create(target, is_public(spec) ? 0755 : 0700));
    const fs::path made = staging.path() / "kernel";
    // Of an image whose layers nobody else may read, nobody else may read a kernel.
    if (!is_public(spec)) LB_TRY(make_directories(made, 0700));
    LB_TRY(spec.kind == KernelSpec::Kind::kDebian
               ? fetch_debian_kernel(spec.series, architecture, staging.path(), made)
               : make_kernel(spec, staging.path(), made, dirs.runtime));
    LB_TRY(staging.commit(made));
  }
  auto kernel = open_kernel(target);
  if (!kernel)
    return while_doing(kernel.error(), "the kept kernel ", target.string(), " (remove it to fetch it anew)");
  log_debug("kernel: ", kernel->release, " in ", target.string());
  return kernel;
}

/// Where the initrd of a kernel is kept: with a kernel of the store, but never in a person's own directory.
fs::path initrd_directory(const StateDirs& dirs, const KernelSpec& spec, const StoredKernel& kernel) {
  if (spec.kind != KernelSpec::Kind::kDirectory) return kernel.directory;
  std::error_code ignored;
  return dirs.kernels() /
         str_cat("initrd-", hash_name(fs::weakly_canonical(kernel.directory, ignored).string()));
}

/// Initrds of guest-inits that are gone. A QEMU that runs has read its own already.
void remove_other_initrds(const fs::path& keep) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(keep.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("initrd-") && name.ends_with(".img") && entry.path() != keep)
      fs::remove(entry.path(), ignored);
  }
}

/// Of a static program; "" where there is none.
std::string read_program(const fs::path& file) {
  constexpr std::size_t kMaxProgramBytes = std::size_t{16} << 20;
  auto bytes = read_file(file, kMaxProgramBytes);
  return bytes && is_static_program(*bytes) ? *std::move(bytes) : std::string();
}

Result<fs::path> ready_initrd(const StoredKernel& kernel, const fs::path& folder,
                              const fs::path& guest_init_binary, const Architecture& architecture) {
  std::error_code code;
  if (const fs::path whole = kernel.directory / "initrd"; fs::exists(whole, code)) return whole;
  LB_ASSIGN(const std::string guest_init, read_guest_init(guest_init_binary, architecture));
  const bool foreign = is_foreign(architecture);
  const std::string busybox = foreign ? read_program(kernel.programs() / "busybox") : read_static_busybox();
  const std::string e2fsck = foreign ? read_program(kernel.programs() / "e2fsck") : read_static_e2fsck();
  std::string modules;
  if (fs::exists(kernel.modules_cpio(), code)) {
    LB_ASSIGN(modules, read_file(kernel.modules_cpio(), kMaxModulesCpioBytes));
  }
  const std::string key =
      hash_name(str_cat(kInitrdFormat, ' ', hash_name(guest_init), ' ', hash_name(busybox), ' ',
                        hash_name(e2fsck), ' ', hash_name(modules)));
  const fs::path initrd = folder / str_cat("initrd-", key, ".img");
  if (fs::exists(initrd, code)) return initrd;

  if (busybox.empty())
    log_info("kernel: no busybox-static on this machine: the initrd has no recovery shell");
  if (e2fsck.empty())
    log_info(
        "kernel: no e2fsck-static on this machine: guests' disks are not checked, only their journals "
        "replayed");
  LB_ASSIGN(const std::string init, init_archive(guest_init, busybox, e2fsck));
  // A person's own directory may be private, and so what is in it.
  LB_TRY(make_private_directory(folder));
  LB_ASSIGN(AtomicFile file, AtomicFile::create(initrd));
  LB_TRY(file.append(as_bytes(modules)));
  LB_TRY(file.append(as_bytes(init)));
  LB_TRY(file.commit());
  remove_other_initrds(initrd);
  return initrd;
}

}  // namespace

Result<bool> is_kernel_here(const StateDirs& dirs, std::string_view spec_text) {
  LB_ASSIGN(const KernelSpec spec, parse_kernel_spec(spec_text));
  return is_stored(spec.kind == KernelSpec::Kind::kDirectory ? spec.directory
                                                             : dirs.kernels() / spec.store_name());
}

Result<Kernel> prepare_kernel(const StateDirs& dirs, std::string_view spec_text,
                              const fs::path& guest_init_binary, const Architecture& architecture) {
  LB_ASSIGN(const KernelSpec spec, parse_kernel_spec(spec_text, architecture));
  const InterruptScope interrupts;
  LB_ASSIGN(const StoredKernel stored, stored_or_fetched(dirs, spec, architecture));
  LB_ASSIGN(const fs::path initrd,
            ready_initrd(stored, initrd_directory(dirs, spec, stored), guest_init_binary, architecture));
  Kernel kernel;
  kernel.release = stored.release;
  kernel.vmlinuz = stored.vmlinuz();
  kernel.initrd = initrd;
  kernel.tcg_append = architecture.old_qemu_arguments;
  if (stored.has_modules) kernel.modules_tar = stored.modules_tar();
  return kernel;
}

}  // namespace layerboot::launcher
