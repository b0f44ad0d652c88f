// `layerboot ssh`: OpenSSH into a running VM, by way of its agent.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// The settings (-o) of an ssh(1) that comes in by the command `proxy` and takes no other sshd than the one
/// with the key in `known_hosts`, known as `alias` there. ssh takes the first value that it is given, and so
/// these before what the user's own configuration has.
[[nodiscard]] std::vector<std::string> ssh_settings(const std::string& proxy, const std::string& alias,
                                                    const std::filesystem::path& known_hosts);

/// Becomes ssh(1), or gives ssh's exit code: no network and no running sshd is needed, since the agent starts
/// the image's sshd for this connection alone. Its host key and the user's, made
/// once per VM, lie in the VM's /run for as long as it runs, never in the image. ssh takes no other sshd than
/// that with the host key, shows it nothing but a key, so that no guest can ask for a password, and forwards
/// neither agent nor display, whatever the user's settings say. ENOENT
/// when the image has no sshd.
Result<int> ssh_into_vm(const StateDirs& dirs, const Options& options);

/// ssh's ProxyCommand: this process's standard input and output are the connection.
Result<int> ssh_proxy(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
