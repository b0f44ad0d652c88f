// What apt's answers say about where a kernel package comes from. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace layerboot::launcher {

/// The format to ask `apt-get indextargets` for, one field set a line.
inline constexpr std::string_view kIndexTargetsFormat =
    "--format=$(CREATED_BY)|$(ORIGIN)|$(LABEL)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)";

/// VERSION_CODENAME of an os-release file; empty when it has none.
[[nodiscard]] std::string os_codename(std::string_view os_release);

/// A sources.list line for `codename`-backports, at the place where this machine has `codename`'s main
/// component of Debian from, verified with `keyring`. Nothing when the machine has no such source.
[[nodiscard]] std::optional<std::string> backports_source(std::string_view index_targets,
                                                          std::string_view codename,
                                                          std::string_view keyring);

/// The lines for all that this machine has of Debian `codename`'s main component, with its updates and its
/// security updates, and of release `further` from the same place, if it is not empty. Nothing when the
/// machine has no such source. `backports`: with its backports, whether the machine has them or not; not
/// every release has any (testing), nor for ever.
[[nodiscard]] std::optional<std::string> all_sources(std::string_view index_targets,
                                                     std::string_view codename, std::string_view further,
                                                     std::string_view keyring, bool backports);

/// apt's configuration by which its answers are by no means this machine's: no hooks of its update, and no
/// preferences but those in `folder`.
[[nodiscard]] std::string private_apt_configuration(std::string_view folder);

/// The first stanza of `apt-cache show`: the candidate.
struct PackageInfo {
  std::string version;
  std::string depends;
  std::uint64_t size_bytes = 0;
};
[[nodiscard]] PackageInfo parse_package(std::string_view apt_cache_show);

/// The kernel package that a meta package depends on: "linux-image-6.1.0-56-cloud-amd64". Empty when there is
/// none.
[[nodiscard]] std::string kernel_package_of(const PackageInfo& meta_package);

/// The packages that `kernel_package`, which `info` describes, is made of, itself first. Debian 12 and 13
/// have a kernel in one; since Linux 6.16 there are "linux-base-R", "linux-binary-R" and "linux-modules-R"
/// for "linux-image-R".
[[nodiscard]] std::vector<std::string> kernel_parts_of(std::string_view kernel_package,
                                                       const PackageInfo& info);

/// Whether a kernel of this version has all that Layerboot makes use of: several request queues for
/// virtiofs, 6.12.
[[nodiscard]] bool is_recent_kernel(std::string_view version);

/// Whether a package's version is of the kernel series `wanted` ("6.1" takes 6.1.192-2, not 6.12.9); every
/// one is when `wanted` is empty.
[[nodiscard]] bool version_matches(std::string_view version, std::string_view wanted);

}  // namespace layerboot::launcher
