// What an engine has given a container, as what is asked of the VM in it. Pure, but for looking at mounts and
// directories.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/export/kubernetes_set.h"
#include "launcher/vm/run_settings.h"
#include "oci-mount/base/mount_list.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// This process is in a container that `layerboot package` made, with the state and sockets that has.
[[nodiscard]] bool is_packaged(const StateDirs& dirs);
/// Where the sockets of the VM with this state are, which must be there: a directory for each state, since
/// `shared` may be that of other containers, whose VMs have the same name.
[[nodiscard]] Result<std::filesystem::path> packaged_runtime(const std::filesystem::path& shared,
                                                             const std::filesystem::path& state);

/// The words of a text, by white space apart.
std::vector<std::string> words_of(std::string_view text);

/// Of a container's variables those that are for the guest: not the package's own, and not those by which an
/// engine describes the container (HOME, HOSTNAME, TERM, container).
std::vector<std::string> guest_environment(const std::vector<std::string>& variables);

/// Each directory that was mounted into the container becomes a volume of the same path, an empty tmpfs one
/// of the guest's, and a file is copied as it is now. Not those by which every container is made, nor what
/// the package keeps its state in. What the guest's system mounts something at by itself is left out, and
/// said.
Result<void> take_mounts(const std::vector<MountPoint>& mounts, RunSettings& settings);

/// Options of run that were packaged, and then those that the container was given: of --accel and
/// --require-kvm, which exclude each other, the latter's.
std::vector<std::string> joined_options(const std::vector<std::string>& packaged,
                                        const std::vector<std::string>& given);

/// Whether a port can be listened at, such as check_port_free().
using PortCheck = std::function<Result<void>(const PublishedPort& port)>;

/// Ports as seen from outside of the container: at all its addresses, one without a host's port at its own,
/// of several for one port the last; and what of `exposed` (ImageConfig) can be forwarded beside them and
/// passes `check`, if any: what can't is said.
void take_ports(const std::vector<std::string>& exposed, RunSettings& settings, const PortCheck& check);

/// The guest's memory in a container of `limit_bytes`: what is left beside the overhead. ENOMEM where that is
/// too little for any guest.
Result<std::uint64_t> memory_within(std::uint64_t limit_bytes, bool is_emulated);

}  // namespace layerboot::launcher
