// Which of a kernel's modules an initrd needs: found by what they serve, never by a list of names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace layerboot::launcher {

/// What depmod(8) and the kernel's build leave in /lib/modules/RELEASE, as text.
struct ModuleTexts {
  std::string dep;              // modules.dep
  std::string alias;            // modules.alias
  std::string builtin;          // modules.builtin
  std::string builtin_modinfo;  // modules.builtin.modinfo, its records ended by NUL
};

/// The modules for an initrd.
struct ModuleSelection {
  std::vector<std::string> files;  // relative to the modules directory, as they lie there (maybe compressed)
  std::string dep;                 // modules.dep of these files alone, naming them uncompressed
  std::string alias;               // modules.alias of these files alone
};

/// The devices and file systems that a root may be on or a boot needs: the virtio transports, the virtio
/// devices that QEMU presents to us, virtiofs, ext4 and overlay.
[[nodiscard]] std::vector<std::string> boot_aliases();

/// And those that a PC may have that somebody else puts together: disks on other controllers, other network
/// cards, names by fw_cfg. Not in our own machines' initrd, which gets by with a third.
std::vector<std::string> appliance_aliases();

/// Whether a module or the kernel itself serves `alias` (a modalias, or fs-NAME).
[[nodiscard]] bool serves(const ModuleTexts& texts, std::string_view alias);

/// The modules that serve `aliases`, and all they depend on.
[[nodiscard]] ModuleSelection select_modules(const ModuleTexts& texts,
                                             const std::vector<std::string>& aliases);

/// "a/b.ko.xz" is kept in an initrd as "a/b.ko".
[[nodiscard]] std::string_view uncompressed_name(std::string_view file);

}  // namespace layerboot::launcher
