// The initrd: guest-init and the modules it may need.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/host/architecture.h"
#include "launcher/kernel/modules.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Reads modules.dep, modules.alias, modules.builtin and modules.builtin.modinfo of `modules_directory`
/// (…/lib/modules/RELEASE). Only modules.dep and modules.alias must be there: depmod makes them. Nothing that
/// lies outside of the directory is read, whatever symlinks and modules.dep say.
Result<ModuleTexts> read_module_texts(const std::filesystem::path& modules_directory);

/// The half of an initrd that belongs to the kernel: the modules that serve `aliases`, uncompressed,
/// with their index. `release` names their directory in the guest. Runs xz or zstd for modules compressed
/// with it, as `user` (ToolSpec).
Result<std::string> modules_archive(const std::filesystem::path& modules_directory,
                                    const std::string& release, const ModuleTexts& texts,
                                    const std::vector<std::string>& aliases, unsigned user = 0);

/// The other half: guest-init as /init, the directories it mounts on, busybox for the recovery shell and
/// e2fsck for a guest's disks (none of these when empty).
Result<std::string> init_archive(std::string_view guest_init, std::string_view busybox,
                                 std::string_view e2fsck);

/// guest-init's bytes. EINVAL where it is no static program, or not for such a machine.
Result<std::string> read_guest_init(const std::filesystem::path& binary,
                                    const Architecture& architecture = own_architecture());

/// init_archive() of this guest-init and of what the host has of the others.
Result<std::string> host_init_archive(const std::filesystem::path& guest_init_binary);

/// The host's busybox, if it has one that runs without libraries; empty otherwise.
std::string read_static_busybox();
/// The same of e2fsck: Debian has it in e2fsck-static.
std::string read_static_e2fsck();

/// Whether `bytes` are an ELF program that needs no loader, which is all that can run in an initrd of ours.
[[nodiscard]] bool is_static_program(std::string_view bytes);

/// Whether an ELF program is for such a machine.
[[nodiscard]] bool is_program_for(std::string_view bytes, const Architecture& architecture);

}  // namespace layerboot::launcher
