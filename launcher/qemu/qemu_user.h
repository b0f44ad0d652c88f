// Whom QEMU becomes when root starts a VM.
#pragma once

#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "launcher/vm/vm_config.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Holds an id against the other VMs of this runtime directory, by a locked file, for as long as it lives.
class HeldUser {
 public:
  HeldUser() = default;  // none
  HeldUser(UniqueFd file, std::filesystem::path path) : file_(std::move(file)), path_(std::move(path)) {}
  HeldUser(HeldUser&& other) noexcept = default;
  HeldUser& operator=(HeldUser&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~HeldUser() {
    // While it is locked: who opens the name from now on makes a file of its own.
    if (file_) ::unlink(path_.c_str());
  }
  explicit operator bool() const { return static_cast<bool>(file_); }

 private:
  UniqueFd file_;
  std::filesystem::path path_;
};

/// Sets `qemu_uid`, `qemu_root` and `qemu_major` of `config` where we are root: an id that nobody has, no
/// process and no other VM either, and an empty directory as the whole of the host that QEMU sees once its
/// files are open. They stay as they are (0 and empty: QEMU goes on as root) where the machine can't have it,
/// which is told in the log: no right to make PID namespaces, as in most containers, ids that are not mapped,
/// or a QEMU of unknown version.
/// REQUIRES: `net` and `machine_id` of `config` are set.
Result<HeldUser> choose_qemu_user(const StateDirs& dirs, const std::filesystem::path& qemu, VmConfig& config);

/// The part of the command line that makes QEMU become that user when its files are open and before the guest
/// runs; empty where it is to stay who it is. Source: QEMU's os_setup_post() (os-posix.c); `-run-with`
/// instead of `-chroot` since 9.0, and of `-runas` since 9.1, which 10.0 does not have.
std::vector<std::string> qemu_user_args(const VmConfig& config);

}  // namespace layerboot::launcher
