#include "launcher/qemu/accelerator.h"

namespace layerboot::launcher {

namespace {

/// KVM runs this machine's own programs alone.
Result<AcceleratorChoice> choose_for_foreign(const RunSettings& settings, const Architecture& architecture) {
  if (settings.require_kvm || settings.accel_choice == AccelChoice::kKvm) {
    return fail(ENODEV, "--platform ", settings.platform, ": a machine for ", architecture.name,
                " is emulated here, KVM runs ", own_architecture().name, " alone; leave out ",
                settings.require_kvm ? "--require-kvm" : "--accel kvm");
  }
  if (settings.machine_choice != MachineChoice::kAuto)
    return fail(EINVAL, "--machine is for ", own_architecture().name, ": leave it out with --platform ",
                settings.platform);
  AcceleratorChoice choice;
  if (settings.accel_choice == AccelChoice::kAuto)
    choice.announcement = str_cat("emulating ", architecture.name, " with TCG, many times slower");
  return choice;
}

}  // namespace

bool needs_verdict(const RunSettings& settings) {
  if (is_foreign(architecture_of(settings))) return false;
  return settings.require_kvm || settings.accel_choice == AccelChoice::kAuto;
}

Result<AcceleratorChoice> choose_accelerator(const RunSettings& settings, const AccelVerdict& verdict) {
  if (const Architecture& architecture = architecture_of(settings); is_foreign(architecture))
    return choose_for_foreign(settings, architecture);
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
