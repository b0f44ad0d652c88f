#include "launcher/qemu/accelerator.h"

namespace layerboot::launcher {

bool needs_verdict(const RunSettings& settings) {
  return settings.require_kvm || settings.accel_choice == AccelChoice::kAuto;
}

Result<AcceleratorChoice> choose_accelerator(const RunSettings& settings, const AccelVerdict& verdict) {
  AcceleratorChoice choice;
  const bool kvm = needs_verdict(settings) ? verdict.kvm_works : settings.accel_choice == AccelChoice::kKvm;
  if (settings.require_kvm && !kvm) {
    return fail(ENODEV, "KVM does not run a guest here: ", verdict.reason,
                "; without --require-kvm emulation is used");
  }
  choice.accel = kvm ? Accel::kKvm : Accel::kTcg;
  if (settings.accel_choice == AccelChoice::kAuto && !kvm) {
    choice.announcement = str_cat("no KVM (", verdict.reason, "): emulating with TCG, several times slower");
  }
  if (settings.machine_choice == MachineChoice::kMicrovm) {
    if (!kvm) return fail(EINVAL, "--machine microvm needs KVM: ", verdict.reason);
    choice.machine = Machine::kMicrovm;
  }
  return choice;
}

}  // namespace layerboot::launcher
