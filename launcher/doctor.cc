#include "launcher/doctor.h"

#include <cstdio>

#include "launcher/accel_probe.h"
#include "launcher/kernel_choice.h"
#include "launcher/programs.h"

namespace layerboot::launcher {

Result<void> doctor(const StateDirs& dirs, const Options& options) {
  std::printf("layerboot  %s\n", LAYERBOOT_VERSION);
  LB_ASSIGN(const auto qemu, find_qemu(options.qemu));
  LB_ASSIGN(const std::string version, qemu_version(qemu));
  std::printf("QEMU       %s (%s)\n", version.c_str(), qemu.c_str());
  LB_ASSIGN(const auto vfsd, find_vfsd(options.vfsd));
  std::printf("vfsd       %s\n", vfsd.c_str());
  std::fflush(stdout);
  LB_ASSIGN(const Kernel kernel, kernel_for(dirs, options));
  std::printf("kernel     %s (%s)\n", kernel.release.c_str(), kernel.vmlinuz.c_str());
  std::fflush(stdout);
  const AccelVerdict verdict = kvm_verdict(
      dirs,
      {.qemu = qemu, .vmlinuz = kernel.vmlinuz, .initrd = kernel.initrd, .kernel_release = kernel.release},
      true);
  std::printf("KVM        %s: %s\n", verdict.kvm_works ? "works" : "does not work", verdict.reason.c_str());
  return {};
}

}  // namespace layerboot::launcher
