// A packaged VM as what a Kubernetes cluster runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/vm/run_settings.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// What QEMU and vfsd take beside the guest's memory, and a container is to be given; an emulator's
/// translated code comes on top, at most. launcher/PACKAGE.md has the measurements.
inline constexpr std::uint64_t kVmOverheadBytes = std::uint64_t{384} << 20;
inline constexpr std::uint64_t kTranslatedCodeBytes = std::uint64_t{1} << 30;
[[nodiscard]] constexpr std::uint64_t vm_overhead_bytes(bool is_emulated) {
  return kVmOverheadBytes + (is_emulated ? kTranslatedCodeBytes : 0);
}

/// How node agents call /dev/kvm, of which a pod is to have one.
inline constexpr const char* kGenericKvmResource = "squat.ai/kvm";
inline constexpr const char* kKubevirtKvmResource = "devices.kubevirt.io/kvm";

/// A set of VMs, each with a disk of its own.
struct KubernetesSet {
  std::string name;   // a DNS label
  std::string image;  // made by `package`, as the cluster's nodes pull it
  std::string space;  // the namespace; empty: that of whoever applies it
  unsigned replicas = 1;
  unsigned cpus = 1;  // of each guest
  std::uint64_t memory_bytes = kDefaultMemoryBytes;
  std::uint64_t disk_bytes = 0;                    // what a guest may write; not 0
  std::string storage_class;                       // of the claims; empty: the cluster's default
  std::string kvm_resource = kGenericKvmResource;  // empty: the guests are emulated
  std::optional<std::uint32_t> kvm_group;          // whose /dev/kvm is on the nodes
  std::vector<PublishedPort> ports;                // of the guest
  bool image_forwards = false;                     // those ports, by itself: it is not told to
  std::vector<std::string> environment;            // NAME=VALUE
  std::vector<std::string> command;                // instead of the image's
};

/// The variable in which a packaged VM has further options of `run`, by blanks apart.
inline constexpr std::string_view kOptionsVariable = "LAYERBOOT_OPTIONS";

/// As YAML, pure: a headless Service and a StatefulSet. EINVAL for a name, of the set or of a variable, that
/// can't be one there; E2BIG for more ports than a VM forwards.
Result<std::string> kubernetes_manifests(const KubernetesSet& set);

}  // namespace layerboot::launcher
