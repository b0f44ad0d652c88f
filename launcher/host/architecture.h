// The machines that QEMU can be, one row for each: all that differs between them, in one table.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

struct Architecture {
  std::string_view name;                   // in OCI's words
  std::array<std::string_view, 2> images;  // the architectures of images that its kernel runs
  std::string_view debian;                 // in dpkg's words
  std::string_view kernel_package;         // the meta package
  /// The release of Debian that the architecture came with, for a host whose own is older; empty: long ago.
  std::string_view since_suite;

  std::string_view qemu;  // the program
  std::string_view qemu_package;
  std::string_view machine;  // its type
  std::string_view machine_options;
  std::string_view emulated_cpu;

  std::string_view libvirt;             // in libvirt's words
  std::string_view libvirt_features;    // what its domain is to have
  std::string_view console;             // the kernel's name for the first serial line
  std::string_view emulated_arguments;  // of the kernel, under TCG
  std::string_view old_qemu_arguments;  // and under TCG of QEMU before 10 (kernel/DESIGN.md)
  std::size_t max_command_line_bytes;   // COMMAND_LINE_SIZE without its NUL
  bool has_tsc;                         // under TCG the guest's clock is the host's
  bool hears_power_button;              // Debian's kernel has a driver for it, where QEMU boots it directly
  std::uint16_t elf_machine;
};

/// The table, in the order in which people are told of it.
[[nodiscard]] std::span<const Architecture> architectures();

/// This machine's row.
[[nodiscard]] const Architecture& own_architecture();

/// The row whose machine runs images for `platform`. ENOTSUP names those that there are.
Result<const Architecture*> architecture_for(const store::Platform& platform);

/// Whether a machine of this row has to be emulated here.
[[nodiscard]] bool is_foreign(const Architecture& architecture);

}  // namespace layerboot::launcher
