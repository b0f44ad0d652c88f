// VmDirectory: where one VM keeps its state, and the lock that makes it one VM.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/vm_config.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Owns the lock of `vms/NAME` and the sockets' directory `runtime/NAME`, which goes with it. All is made
/// for the owner alone (0700, 0600). One process holds a VM; the lock ends with the process, however it ends.
class VmDirectory {
 public:
  /// Makes what is missing. EBUSY when another process runs the VM; ENAMETOOLONG when a socket in
  /// `runtime/NAME` would not fit an AF_UNIX address.
  static Result<VmDirectory> open(const StateDirs& dirs, const std::string& name);

  VmDirectory(VmDirectory&& other) noexcept;
  VmDirectory& operator=(VmDirectory&&) = delete;
  VmDirectory(const VmDirectory&) = delete;
  VmDirectory& operator=(const VmDirectory&) = delete;
  /// Removes the sockets, and the state too when this run made it and nobody said keep().
  ~VmDirectory();

  /// The VM has come to something: its state stays.
  void keep() { fresh_ = false; }

  [[nodiscard]] std::filesystem::path upper() const { return state_ / "disk"; }
  /// With a disk for its root: the VM's own, what it lies on, and the initrd that carries layer() to it.
  [[nodiscard]] std::filesystem::path root_disk() const { return state_ / "disk.qcow2"; }
  [[nodiscard]] std::filesystem::path root_disk_base() const { return state_ / "disk.base"; }
  [[nodiscard]] std::filesystem::path initrd() const { return state_ / "initrd.img"; }
  [[nodiscard]] std::filesystem::path layer() const { return state_ / "vm-layer.tar"; }
  [[nodiscard]] std::filesystem::path console_log() const { return state_ / "console.log"; }
  [[nodiscard]] std::filesystem::path config() const { return state_ / "config.json"; }
  [[nodiscard]] std::filesystem::path virtiofs_socket() const { return runtime_ / "virtiofs.sock"; }

  /// config.json of an earlier run, or a new record with a fresh machine-id.
  Result<VmRecord> load_record() const;
  /// Written only when it differs from what is there.
  Result<void> save_record(const VmRecord& record) const;

 private:
  VmDirectory(std::string name, std::filesystem::path state, std::filesystem::path runtime, UniqueFd lock);

  std::string name_;
  std::filesystem::path state_;
  std::filesystem::path runtime_;
  UniqueFd lock_;
  bool fresh_ = false;  // the state directory was made by this run
};

/// ENAMETOOLONG, with the remedy, when `path` does not fit sockaddr_un (107 bytes and a NUL).
Result<void> check_socket_path(const std::filesystem::path& path);

}  // namespace layerboot::launcher
