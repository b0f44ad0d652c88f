// Who is to be the guest's first process, and how it is told.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "guest-init/agent_protocol.h"
#include "guest-init/workload.h"
#include "launcher/vm/vm_config.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// What is known of it before the guest has looked into its image: nothing when that has to decide, because
/// the image's command is no init by its name, but systemd may be there. Pure.
std::optional<guest_init::GuestKind> expected_guest(const VmConfig& config);

/// The request for the VM's own workload, should the guest turn out to need one. Pure.
guest_init::SessionRequest main_request(const VmConfig& config);

/// Whether these kernel arguments have guest-init run a shell on the console. Pure.
bool boots_into_shell(std::string_view append);

/// The part of the kernel's command line that is guest-init's, beginning with a blank.
std::string guest_arguments(const VmConfig& config);

/// The very end of the kernel's command line: another init than the image says, and its arguments after `--`.
/// Empty as a rule. EINVAL when they hold what a kernel's command line can't.
Result<std::string> init_arguments(const VmConfig& config);

}  // namespace layerboot::launcher
