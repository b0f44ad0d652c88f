#include "launcher/host/architecture.h"

#include <elf.h>

#include <algorithm>

#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

constexpr std::array kArchitectures = {
    Architecture{.name = "amd64",
                 .images = {"amd64", "386"},
                 .debian = "amd64",
                 .kernel_package = "linux-image-cloud-amd64",
                 .since_suite = {},
                 .qemu = "qemu-system-x86_64",
                 .qemu_package = "qemu-system-x86",
                 .machine = "q35",
                 .machine_options = ",hpet=off,vmport=off,smm=off,sata=off,usb=off",
                 .emulated_cpu = "max",
                 .libvirt = "x86_64",
                 .libvirt_features = "<acpi/><apic/>",
                 .console = "ttyS0",
                 // TSC calibration against the PIT and the timer check fail, or take long, on a loaded host
                 // without hardware virtualisation. The emulated TSC is the host's.
                 .emulated_arguments = " tsc=reliable no_timer_check",
                 // 6.12 crashes under QEMU 7.2's TCG when it uses cmpxchg16b. Told so here and not by -cpu,
                 // because programs of the x86-64-v2 level look for the instruction.
                 .old_qemu_arguments = "clearcpuid=cx16",
                 .max_command_line_bytes = 2047,
                 .has_tsc = true,
                 .hears_power_button = true,
                 .elf_machine = EM_X86_64},
    Architecture{.name = "arm64",
                 .images = {"arm64", "arm"},
                 .debian = "arm64",
                 .kernel_package = "linux-image-cloud-arm64",
                 .since_suite = {},
                 .qemu = "qemu-system-aarch64",
                 .qemu_package = "qemu-system-arm",
                 .machine = "virt",
                 .machine_options = ",gic-version=max",
                 // Pointer authentication by the architecture's own cipher is a third of what TCG does.
                 .emulated_cpu = "max,pauth-impdef=on",
                 .libvirt = "aarch64",
                 .libvirt_features = {},  // ACPI there needs a firmware
                 .console = "ttyAMA0",
                 .emulated_arguments = {},
                 .old_qemu_arguments = {},
                 .max_command_line_bytes = 2047,
                 .has_tsc = false,
                 .hears_power_button = false,  // KEYBOARD_GPIO is off
                 .elf_machine = EM_AARCH64},
    Architecture{.name = "riscv64",
                 .images = {"riscv64", {}},
                 .debian = "riscv64",
                 .kernel_package = "linux-image-riscv64",
                 .since_suite = "trixie",
                 .qemu = "qemu-system-riscv64",
                 .qemu_package = "qemu-system-misc opensbi",
                 .machine = "virt",
                 .machine_options = {},
                 // QEMU 7.2 has no "max" of it.
                 .emulated_cpu = "rv64",
                 .libvirt = "riscv64",
                 .libvirt_features = {},
                 .console = "ttyS0",
                 .emulated_arguments = {},
                 .old_qemu_arguments = {},
                 .max_command_line_bytes = 1023,
                 .has_tsc = false,
                 .hears_power_button = false,  // there is none
                 .elf_machine = EM_RISCV},
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture& own_architecture() {
  return *std::ranges::find(kArchitectures, store::host_architecture(), &Architecture::name);
}

Result<const Architecture*> architecture_for(const store::Platform& platform) {
  std::string known;
  for (const Architecture& row : kArchitectures) {
    for (const std::string_view image : row.images) {
      if (image.empty()) continue;
      if (platform.os == "linux" && image == platform.architecture) return &row;
      known += str_cat(known.empty() ? "" : ", ", "linux/", image);
    }
  }
  return fail(ENOTSUP, store::platform_text(platform), " can't be run: there are machines and kernels for ",
              known);
}

bool is_foreign(const Architecture& architecture) { return architecture.name != own_architecture().name; }

}  // namespace layerboot::launcher
