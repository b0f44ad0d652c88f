// The kernels this machine has prepared, one directory each.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "launcher/host/architecture.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Of a kernel's build configuration, a text.
inline constexpr std::size_t kMaxKernelConfigBytes = std::size_t{4} << 20;

/// Which kernel, as the person wrote it.
struct KernelSpec {
  enum class Kind { kDebian, kCustom, kHost, kImage, kFile, kDirectory };
  Kind kind = Kind::kDebian;
  std::string series;               // kDebian: "6.1", "6.12"; empty: the best there is
  std::string image;                // kImage: a reference
  std::filesystem::path directory;  // kDirectory; kFile: the kernel image itself, from the root
  std::string architecture;         // of another machine than this one: part of the name; else empty

  /// The directory's name in the store: "debian", "debian-6.12", "host-6.1.0-13-amd64", "debian-arm64". Of an
  /// image or a file it tells the name and not the content: remove the directory when that has changed. Empty
  /// for kDirectory, which is used where it lies.
  [[nodiscard]] std::string store_name() const;
};

/// Parses `debian`, `debian:6.1`, `custom`, `host`, `image:REFERENCE`, a file or a directory (anything else
/// with a slash, and `.`; which of the two is looked up), for a machine of `architecture`. EINVAL says what
/// is understood, and that of another architecture there are Debian's, an image's and a directory's alone.
Result<KernelSpec> parse_kernel_spec(std::string_view text,
                                     const Architecture& architecture = own_architecture());

/// A kernel as it lies in a directory: the store's, or one that a person names.
///   vmlinuz      the kernel image
///   release      its version as uname -r gives it, and a newline
///   config       its build configuration
///   modules.tar  its modules and configuration as a layer of the guest's root; may be missing
///   modules.cpio the modules an initrd needs; may be missing
///   initrd       a whole initrd, taken as it is instead of one made here; may be missing
///   programs/    busybox and e2fsck for its initrd, static; only for another architecture than this host's
struct StoredKernel {
  std::filesystem::path directory;
  std::string release;
  bool has_modules = false;

  [[nodiscard]] std::filesystem::path vmlinuz() const { return directory / "vmlinuz"; }
  [[nodiscard]] std::filesystem::path modules_tar() const { return directory / "modules.tar"; }
  [[nodiscard]] std::filesystem::path modules_cpio() const { return directory / "modules.cpio"; }
  [[nodiscard]] std::filesystem::path programs() const { return directory / "programs"; }
};

/// Opens a prepared kernel. ENOENT when the directory or one of its files is missing; EINVAL when `release`
/// is no version, or when the kernel's configuration has no virtiofs. The text names the remedy.
Result<StoredKernel> open_kernel(const std::filesystem::path& directory);

/// Whether a kernel configuration has virtiofs, built in or as a module.
[[nodiscard]] bool config_has_virtiofs(std::string_view config);

/// Whether it has CONFIG_`option` built in.
[[nodiscard]] bool config_has_builtin(std::string_view config, std::string_view option);

/// What `uname -r` can say, and no path tricks.
[[nodiscard]] bool is_release(std::string_view text);

/// The error for a kernel that can't mount a virtiofs root.
[[nodiscard]] Error no_virtiofs_error(std::string_view release);

}  // namespace layerboot::launcher
