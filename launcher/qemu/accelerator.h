// Chooses accelerator and machine type for a VM.
#pragma once

#include "launcher/qemu/accel_probe.h"
#include "launcher/vm/run_settings.h"
#include "launcher/vm/vm_config.h"

namespace layerboot::launcher {

struct AcceleratorChoice {
  Accel accel = Accel::kTcg;
  Machine machine = Machine::kQ35;
  std::string announcement;  // one line for the person; empty when there is nothing to say
};

/// Pure: what the settings make of a verdict. ENODEV when they insist on KVM and it does not work, EINVAL
/// when the machine type asked for needs KVM.
Result<AcceleratorChoice> choose_accelerator(const RunSettings& settings, const AccelVerdict& verdict);

/// True when the choice depends on the verdict: otherwise it need not be found out.
bool needs_verdict(const RunSettings& settings);

}  // namespace layerboot::launcher
