#include "guest-init/agent.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>

#include "guest-init/agent_loop.h"
#include "guest-init/console.h"
#include "guest-init/fd.h"

namespace guest_init {

namespace {

/// systemd's mark of a process that it must not kill (systemd.io, "Storage Daemons for the Root File
/// System").
void take_name(char** arguments) {
  arguments[0][0] = '@';
  prctl(PR_SET_NAME, "layerboot-agent");
}

void leave_standard_descriptors(int root) {
  if (root < 0) return;
  const Fd null_device(openat(root, "dev/null", O_RDWR | O_CLOEXEC));
  for (int standard = 0; null_device && standard <= 2; ++standard) dup2(null_device.get(), standard);
}

}  // namespace

pid_t start_agent(const AgentPlan& plan, char** arguments) {
  const pid_t agent = fork();
  if (agent != 0) return agent;
  take_name(arguments);
  setsid();
  // Descriptors, since the paths will lead elsewhere.
  const Fd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  keep_kernel_log();
  leave_standard_descriptors(root.get());
  if (fchdir(plan.old_root) != 0 || chroot(".") != 0) note("the agent shares the image's root directory");
  close(plan.old_root);
  AgentLoop(plan, root.get()).run();
}

}  // namespace guest_init
