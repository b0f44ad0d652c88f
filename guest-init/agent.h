// The agent: what guest-init leaves behind in every VM. It starts programs in the image for the host, hears
// the power button where nobody else does, and in an image without an init it runs the image's command.
#pragma once

#include <sys/types.h>

#include "guest-init/agent_protocol.h"
#include "guest-init/workload.h"

namespace guest_init {

struct AgentPlan {
  GuestKind kind = GuestKind::kInit;
  ImageWorkload workload;
  bool port_expected = true;  // the launcher said that it has a port
  bool init_is_systemd = false;
  bool session_groups = false;  // sessions get control groups of their own (session_group.h)
  bool power_button = true;     // to be heard, where the image has nobody who does
  int port = -1;                // the port, when it is open already; given away
  int old_root = -1;            // the initramfs, which stays the agent's own root directory; lent
};

/// Forks the agent, which never returns. Its root directory is the initramfs and its name begins with '@': so
/// systemd leaves it alone, to the end of its shutdown. With kCommand it ends when the image's command has
/// ended and the host knows. -1, with errno, when there is no process to be had. REQUIRES: / is the image's
/// root; `arguments` is main's argv, which is written to.
pid_t start_agent(const AgentPlan& plan, char** arguments);

}  // namespace guest_init
