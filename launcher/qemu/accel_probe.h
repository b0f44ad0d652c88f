// Whether KVM runs a guest on this machine: found out by running one.
//
// /dev/kvm may exist, open and even run small programs where a stock kernel hangs or QEMU aborts; only a
// kernel that comes up is proof.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct AccelVerdict {
  bool kvm_works = false;
  std::string reason;   // one clause: "the probe guest came up in 0.8 s"
  bool cached = false;  // found out earlier in this boot of the host
};

struct ProbeInput {
  std::filesystem::path qemu;
  std::filesystem::path vmlinuz;
  std::filesystem::path initrd;  // with guest-init, which answers to layerboot.probe
  std::string kernel_release;
};

inline constexpr std::chrono::milliseconds kProbeBound{5000};
/// What guest-init prints on the console when it is asked to.
inline constexpr std::string_view kProbeAlive = "layerboot-probe: alive";

/// Boots the probe guest under KVM and waits for its sign of life, at most `bound`. Never fails: no way to
/// find out is a verdict against KVM.
AccelVerdict probe_kvm(const ProbeInput& input, std::chrono::milliseconds bound = kProbeBound);

/// probe_kvm, with its verdict kept in the cache directory for this boot of the host, QEMU version and
/// kernel. `fresh` asks again.
AccelVerdict kvm_verdict(const StateDirs& dirs, const ProbeInput& input, bool fresh);

}  // namespace layerboot::launcher
