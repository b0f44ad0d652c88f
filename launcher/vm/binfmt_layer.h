// Programs for other architectures in a guest, each run by a QEMU of user mode: what the guest's kernel is
// told (the kernel's Documentation/admin-guide/binfmt-misc.rst), and the layer that brings it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/host/architecture.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// An architecture that QEMU emulates for single programs.
struct EmulatedPrograms {
  std::string_view name;  // in OCI's words
  std::string_view qemu;  // "aarch64" of qemu-aarch64-static
  bool wide;              // 64 bits
  bool big_endian;
  std::uint16_t elf_machine;
};

/// All that can be asked for.
[[nodiscard]] std::span<const EmulatedPrograms> emulated_programs();

/// `arm64[,riscv64…]`, or linux/arm64, in the table's words. EINVAL lists these, but not for what
/// this machine runs by itself.
Result<std::vector<std::string>> parse_binfmt(std::string_view text);

/// The line that registers `interpreter` for such programs, opened at once (flag F), so that a container that
/// does not see the path has it too.
[[nodiscard]] std::string registration(const EmulatedPrograms& programs, std::string_view interpreter);

/// A static interpreter for `guest`, of Debian's qemu-user-static. ENOENT names the package; EINVAL where
/// what there is would not run in a guest.
Result<std::filesystem::path> find_interpreter(const EmulatedPrograms& programs, const Architecture& guest);

/// Where the layer for `name` is kept, made or not.
[[nodiscard]] std::filesystem::path binfmt_layer_path(const StateDirs& dirs, std::string_view name);

/// The layers for `names`, which parse_binfmt() gave, a plain tar each with the interpreter and its line in
/// /etc/binfmt.d, where systemd and guest-init look. Made anew where this machine's interpreter has changed.
/// EINVAL where it is not for a machine of `guest`.
Result<std::vector<std::filesystem::path>> binfmt_layers(const StateDirs& dirs,
                                                         const std::vector<std::string>& names,
                                                         const Architecture& guest);

}  // namespace layerboot::launcher
