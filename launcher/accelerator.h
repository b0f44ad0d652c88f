// Chooses accelerator and machine type for a VM.
#pragma once

#include "launcher/accel_probe.h"
#include "launcher/options.h"
#include "launcher/vm_config.h"

namespace layerboot::launcher {

struct AcceleratorChoice {
  Accel accel = Accel::kTcg;
  Machine machine = Machine::kQ35;
  std::string announcement;  // one line for the person; empty when there is nothing to say
};

/// Pure: what the options make of a verdict. ENODEV when they insist on KVM and it does not work, EINVAL when
/// the machine type asked for needs KVM.
Result<AcceleratorChoice> choose_accelerator(const Options& options, const AccelVerdict& verdict);

/// True when the choice depends on the verdict: otherwise it need not be found out.
bool needs_verdict(const Options& options);

}  // namespace layerboot::launcher
