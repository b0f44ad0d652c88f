#include "launcher/kernel/kernel_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <optional>
#include <system_error>
#include <vector>

#include "launcher/host/held_user.h"
#include "launcher/host/image_mount.h"
#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "launcher/kernel/kernel_copy.h"
#include "launcher/kernel/kernel_package.h"
#include "launcher/kernel/kernel_store.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHeaderBytes = 64 * 1024;
constexpr std::size_t kVersionPointer = 0x20e;
constexpr std::size_t kMaxVersionBytes = 128;
/// Beside the modules: symlinks to the sources, and Fedora's kernel image, which goes elsewhere.
const std::vector<std::string> kUnwanted = {"build", "source", "vmlinuz"};

/// A kernel and what belongs to it, where they lie.
struct FoundKernel {
  std::string release;
  fs::path vmlinuz;
  fs::path config;
  fs::path modules;  // the directory of this release
};

/// Each part of `relative` below `root` is a directory, and no symlink: an image's could lead out to the
/// host.
bool is_plain_directory(const fs::path& root, const fs::path& relative) {
  fs::path at = root;
  std::error_code ignored;
  for (const auto& part : relative) {
    at /= part;
    if (!fs::is_directory(fs::symlink_status(at, ignored))) return false;
  }
  return true;
}

bool is_plain_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(fs::symlink_status(path, ignored));
}

/// As Debian and its kin have it (/boot), or as Fedora and its kin (beside the modules).
std::optional<FoundKernel> kernel_beside(const fs::path& root, const fs::path& modules,
                                         const std::string& release) {
  for (const auto& [folder, suffix] :
       {std::pair<fs::path, std::string>{"boot", "-" + release}, {modules / release, ""}}) {
    if (!is_plain_directory(root, folder)) continue;
    const fs::path vmlinuz = root / folder / ("vmlinuz" + suffix);
    const fs::path config = root / folder / ("config" + suffix);
    if (is_plain_file(vmlinuz) && is_plain_file(config))
      return FoundKernel{release, vmlinuz, config, root / modules / release};
  }
  return std::nullopt;
}

/// The newest name by version is not looked for: an image with a kernel has one.
Result<FoundKernel> find_kernel(const fs::path& root, const std::string& where) {
  for (const fs::path modules : {"usr/lib/modules", "lib/modules"}) {
    if (!is_plain_directory(root, modules)) continue;
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(root / modules, code)) {
      const std::string release = entry.path().filename().string();
      if (!is_release(release) || !is_plain_directory(root, modules / release)) continue;
      if (auto found = kernel_beside(root, modules, release)) return *std::move(found);
    }
  }
  return fail(ENOENT, "no kernel in ", where,
              ": it needs vmlinuz-VERSION and config-VERSION in /boot, or both beside the modules in "
              "/usr/lib/modules/VERSION");
}

void tell_left_out(const std::vector<std::string>& left_out, const std::string& where) {
  if (left_out.empty()) return;
  log_warn("kernel: ", printable(left_out.front()),
           left_out.size() == 1 ? "" : str_cat(" and ", left_out.size() - 1, " more"), " of ", where,
           left_out.size() == 1 ? " is" : " are",
           " left out: neither file nor directory, nor a symlink to a file beside it");
}

/// Copied, since kernel_from_tree() changes what it is given.
Result<void> make_from(const FoundKernel& found, const std::string& where, const fs::path& work,
                       const fs::path& into, unsigned user) {
  const fs::path tree = work / "tree";
  const fs::path modules = tree / "usr/lib/modules";
  LB_TRY(make_directories(modules));
  LB_TRY(make_directories(tree / "boot"));
  log_info("kernel: copying ", found.release);
  LB_ASSIGN(const auto left_out, copy_kernel_tree(found.modules, modules / found.release, kUnwanted, user));
  tell_left_out(left_out, where);
  LB_TRY(copy_kernel_file(found.vmlinuz, tree / "boot" / ("vmlinuz-" + found.release)));
  LB_TRY(copy_kernel_file(found.config, tree / "boot" / ("config-" + found.release)));
  return kernel_from_tree(tree, into, user);
}

Result<void> make_from_host(const fs::path& work, const fs::path& into) {
  utsname host{};
  ::uname(&host);
  const std::string release = host.release;
  if (const auto found =
          kernel_beside("/", is_plain_directory("/", "lib") ? "lib/modules" : "usr/lib/modules", release))
    return make_from(*found, "this machine", work, into, 0);
  return fail(ENOENT, "this machine's own kernel ", release, " is not on its disk: /boot/vmlinuz-", release,
              ", /boot/config-", release, " and /lib/modules/", release,
              " are needed, as in a container they are not; use --kernel debian");
}

Result<void> make_from_image(const std::string& image, const std::string& architecture, const fs::path& work,
                             const fs::path& into, const fs::path& runtime) {
  const fs::path mountpoint = work / "image";
  LB_TRY(make_directories(mountpoint));
  LB_ASSIGN(const fs::path oci_mount, find_oci_mount({}));
  LB_ASSIGN(
      const ImageMount mount,
      ImageMount::mount({.oci_mount = oci_mount,
                         .image = image,
                         .platform = architecture.empty() ? std::string() : str_cat("linux/", architecture),
                         .added_layers = {},
                         .mountpoint = mountpoint}));
  LB_ASSIGN(const FoundKernel found, find_kernel(mountpoint, image));
  // Not as root, where that can be: depmod and the decompressors were not made for strangers' modules.
  FreeUser user;
  if (can_change_user()) {
    LB_ASSIGN(user, free_user(runtime, image));
  }
  return make_from(found, image, work, into, user.id);
}

/// A kernel with all it needs built in; its configuration lies beside it.
Result<void> make_from_file(const fs::path& vmlinuz, const fs::path& into) {
  LB_ASSIGN(const std::string release, release_of_image(vmlinuz));
  std::string config;
  for (const std::string& name : {"config-" + release, std::string("config")}) {
    if (auto text = read_file(vmlinuz.parent_path() / name, kMaxKernelConfigBytes)) config = *std::move(text);
    if (!config.empty()) break;
  }
  if (config.empty())
    return fail(ENOENT, "kernel ", vmlinuz.string(), ": put its build configuration beside it, as config-",
                release);
  if (!config_has_builtin(config, "VIRTIO_FS") || !config_has_builtin(config, "VIRTIO_PCI")) {
    return fail(
        EINVAL, "kernel ", vmlinuz.string(),
        ": without modules it must have VIRTIO_FS and VIRTIO_PCI built in; give the directory of a prepared "
        "kernel, or an image that carries it with its modules");
  }
  LB_TRY(make_directories(into));
  LB_TRY(write_whole_file(into / "release", release + "\n"));
  LB_TRY(write_whole_file(into / "config", config));
  // What a person's symlink leads to, and not the symlink.
  std::error_code error;
  const fs::path file = fs::canonical(vmlinuz, error);
  if (error) return fail(error.value(), "kernel ", vmlinuz.string(), ": ", error.message());
  return copy_kernel_file(file, into / "vmlinuz");
}

Result<void> build_custom(const fs::path& work, const fs::path& into) {
  LB_ASSIGN(const fs::path script, find_kernel_build());
  log_info(
      "kernel: building one from Debian's sources; this takes a quarter of an hour of two processors, once");
  const fs::path tree = work / "tree";
  LB_TRY(run_tool({script.string(), tree.string()}));
  return kernel_from_tree(tree, into);
}

}  // namespace

Result<std::string> release_of_image(const fs::path& vmlinuz) {
  LB_ASSIGN(const UniqueFd file, open_path(vmlinuz, O_RDONLY));
  std::string header(kHeaderBytes, '\0');
  const ssize_t got = ::pread(file.get(), header.data(), header.size(), 0);
  if (got < 0) return errno_error("cannot read ", vmlinuz.string());
  header.resize(static_cast<std::size_t>(got));
  const auto wrong = [&] {
    return fail(EINVAL, vmlinuz.string(), " is no kernel image for x86 (a bzImage)");
  };
  if (header.size() < kVersionPointer + 2 || std::string_view(header).substr(0x202, 4) != "HdrS")
    return wrong();
  const auto byte = [&](std::size_t at) {
    return static_cast<std::size_t>(static_cast<unsigned char>(header[at]));
  };
  const std::size_t at = (byte(kVersionPointer) | byte(kVersionPointer + 1) << 8) + 0x200;
  if (at >= header.size()) return wrong();
  const std::string_view text = std::string_view(header).substr(at, kMaxVersionBytes);
  std::string release(text.substr(0, text.find_first_of(std::string_view(" \0", 2))));
  if (!is_release(release)) return wrong();
  return release;
}

Result<void> make_kernel(const KernelSpec& spec, const fs::path& work, const fs::path& into,
                         const fs::path& runtime) {
  switch (spec.kind) {
    case KernelSpec::Kind::kCustom:
      return build_custom(work, into);
    case KernelSpec::Kind::kHost:
      return make_from_host(work, into);
    case KernelSpec::Kind::kImage:
      return make_from_image(spec.image, spec.architecture, work, into, runtime);
    case KernelSpec::Kind::kFile:
      return make_from_file(spec.directory, into);
    case KernelSpec::Kind::kDebian:
    case KernelSpec::Kind::kDirectory:
      break;
  }
  return fail(EINVAL, "this kernel is not made from elsewhere");
}

}  // namespace layerboot::launcher
