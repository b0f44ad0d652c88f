#include "launcher/accelerator.h"

namespace layerboot::launcher {

bool needs_verdict(const Options& options) {
  return options.require_kvm || options.accel_choice == AccelChoice::kAuto;
}

Result<AcceleratorChoice> choose_accelerator(const Options& options, const AccelVerdict& verdict) {
  AcceleratorChoice choice;
  const bool kvm = needs_verdict(options) ? verdict.kvm_works : options.accel_choice == AccelChoice::kKvm;
  if (options.require_kvm && !kvm) {
    return fail(ENODEV, "KVM does not run a guest here: ", verdict.reason,
                "; without --require-kvm emulation is used");
  }
  choice.accel = kvm ? Accel::kKvm : Accel::kTcg;
  if (options.accel_choice == AccelChoice::kAuto && !kvm) {
    choice.announcement = str_cat("no KVM (", verdict.reason, "): emulating with TCG, several times slower");
  }
  if (options.machine_choice == MachineChoice::kMicrovm) {
    if (!kvm) return fail(EINVAL, "--machine microvm needs KVM: ", verdict.reason);
    choice.machine = Machine::kMicrovm;
  }
  return choice;
}

}  // namespace layerboot::launcher
