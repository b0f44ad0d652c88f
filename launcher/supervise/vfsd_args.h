// vfsd's command line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/host/child.h"
#include "launcher/vm/vm_config.h"

namespace layerboot::launcher {

/// Where a vfsd started by us says "ready".
inline constexpr int kVfsdReadyFd = kFirstInheritedFd;
/// Its connection to the VM, where it is not to listen.
inline constexpr int kVfsdSocketFd = kFirstInheritedFd + 1;

/// It has found an upper directory that belongs to another image (vfsd(1), EXIT STATUS).
inline constexpr int kVfsdOtherImage = 3;

struct VfsdPaths {
  std::filesystem::path vfsd;
  std::filesystem::path socket;   // empty: kVfsdSocketFd
  std::string socket_group;       // who may connect to it as well; empty: nobody
  std::filesystem::path control;  // where it takes orders; empty: nowhere
  std::filesystem::path upper;
  std::filesystem::path index;
  std::vector<std::filesystem::path> added_layers;  // lowest first, all above the image's own
};

/// Pure. A volume's daemon: `host` in place, or, as an overlay, with `upper` for what the guest writes.
std::vector<std::string> volume_vfsd_args(const VmConfig& config, const Volume& volume,
                                          const VfsdPaths& paths);

/// Pure. With `once` the daemon ends when the VM does, even if nobody is left to tell it.
std::vector<std::string> vfsd_args(const VmConfig& config, const VfsdPaths& paths, bool once);

}  // namespace layerboot::launcher
