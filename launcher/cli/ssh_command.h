// `layerboot ssh`: OpenSSH into a running VM, by way of its agent.
#pragma once

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Becomes ssh(1), or gives ssh's exit code: no network and no running sshd is needed, since the agent starts
/// the image's sshd for this connection alone. Its host key and the user's, made
/// once per VM, lie in the VM's /run for as long as it runs, never in the image. ssh takes no other sshd than
/// that with the host key, and forwards neither agent nor display, whatever the user's settings say. ENOENT
/// when the image has no sshd.
Result<int> ssh_into_vm(const StateDirs& dirs, const Options& options);

/// ssh's ProxyCommand: this process's standard input and output are the connection.
Result<int> ssh_proxy(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
