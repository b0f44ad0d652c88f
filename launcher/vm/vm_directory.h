// VmDirectory: where one VM keeps its state, and the lock that makes it one VM.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/vm/event_log.h"
#include "launcher/vm/vm_config.h"
#include "oci-mount/base/remove_tree.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// The paths of a VM's state and sockets; nothing is looked at. The name must be checked.
struct VmPaths {
  VmPaths(const StateDirs& dirs, const std::string& name)
      : state(dirs.vms() / name), runtime(dirs.runtime / name), event_log(event_log_of(dirs)) {}

  std::filesystem::path state;
  std::filesystem::path runtime;
  std::filesystem::path event_log;  // of all VMs (event_log.h)

  [[nodiscard]] std::filesystem::path upper() const { return state / "disk"; }
  /// The disk of a run that keeps nothing.
  [[nodiscard]] std::filesystem::path ephemeral_upper() const { return state / "ephemeral"; }
  /// The disk of a guest that has its own upper (UpperKind::kDisk), and the identity of the image below it.
  [[nodiscard]] std::filesystem::path upper_disk() const { return state / "upper.raw"; }
  [[nodiscard]] std::filesystem::path upper_disk_image() const { return state / "upper.image"; }
  [[nodiscard]] std::filesystem::path ephemeral_upper_disk() const { return ephemeral_upper() / "upper.raw"; }
  /// What the guest swaps to; there until QEMU has opened it.
  [[nodiscard]] std::filesystem::path swap_disk() const { return state / "swap.raw"; }
  /// What the guest writes to its volumes, by the names of their mount units.
  [[nodiscard]] std::filesystem::path volume_uppers() const { return state / "volumes"; }
  /// A disk on its way out.
  [[nodiscard]] std::filesystem::path old_upper() const { return state / "disk.old"; }
  /// With a disk for its root: the VM's own, what it lies on, and the initrd that carries layer() to it.
  [[nodiscard]] std::filesystem::path root_disk(DiskFormat format) const {
    return state / (format == DiskFormat::kRaw ? "disk.raw" : "disk.qcow2");
  }
  [[nodiscard]] std::filesystem::path root_disk_base() const { return state / "disk.base"; }
  [[nodiscard]] std::filesystem::path initrd() const { return state / "initrd.img"; }
  [[nodiscard]] std::filesystem::path layer() const { return state / "vm-layer.tar"; }
  [[nodiscard]] std::filesystem::path console_log() const { return state / "console.log"; }
  [[nodiscard]] std::filesystem::path launcher_log() const { return state / "launcher.log"; }
  [[nodiscard]] std::filesystem::path config() const { return state / "config.json"; }
  [[nodiscard]] std::filesystem::path last_run() const { return state / "last-run.json"; }
  [[nodiscard]] std::filesystem::path control_socket() const { return runtime / "control.sock"; }
  /// Where sessions with the guest's agent are taken (agent_broker.h).
  [[nodiscard]] std::filesystem::path agent_socket() const { return runtime / "agent.sock"; }
  /// The Docker engine's, of a VM that was asked for it.
  [[nodiscard]] std::filesystem::path docker_socket() const { return runtime / "docker.sock"; }
  /// The control socket of the root's daemon.
  [[nodiscard]] std::filesystem::path vfsd_socket() const { return runtime / "vfsd.sock"; }
};

/// The identity of the image that what the VM has written to its root lies over (Image::chain_id), as it is
/// kept beside that. ENOENT where it has written nothing.
Result<std::string> upper_identity(const VmPaths& paths);
/// The same of one file that has it, such as kUpperIdentityName in an upper that vfsd writes.
Result<std::string> identity_of_upper(const std::filesystem::path& file);
inline constexpr const char* kUpperIdentityName = "image";

/// In the words that every command has for it: there is no such VM, with those that have nearly its name.
Error no_such_vm(const StateDirs& dirs, const std::string& name);
/// It is there, and nobody runs it.
Error vm_not_running(const std::string& name);

/// EPERM where the directories of the VM's sockets, as far as they are there, are others' to change: what
/// listens there is not to be believed, and what is there is not to be removed.
Result<void> check_runtime(const StateDirs& dirs, const VmPaths& paths);

/// Somebody runs the VM, or works on it: holds its VmDirectory, now.
[[nodiscard]] bool is_held(const VmPaths& paths);

/// Reads a VM's config.json; EINVAL names the file when it is damaged.
Result<VmRecord> load_vm_record(const VmPaths& paths);
/// Written only when it differs from what is there.
Result<void> save_vm_record(const VmPaths& paths, const VmRecord& record);

/// Owns the lock of `vms/NAME` and the sockets' directory `runtime/NAME`, which goes with it. All is made
/// for the owner alone (0700, 0600). One process holds a VM; the lock ends with the process, however it ends.
class VmDirectory {
 public:
  /// Makes what is missing. EBUSY when another process runs the VM; EPERM as check_runtime(); ENAMETOOLONG
  /// when a socket in `runtime/NAME` would not fit an AF_UNIX address.
  static Result<VmDirectory> open(const StateDirs& dirs, const std::string& name);
  /// The same of a VM that must not exist yet: EEXIST otherwise, and nothing of it is touched.
  static Result<VmDirectory> create(const StateDirs& dirs, const std::string& name);
  /// The same of a VM that must exist: ENOENT otherwise.
  static Result<VmDirectory> open_existing(const StateDirs& dirs, const std::string& name);

  VmDirectory(VmDirectory&& other) noexcept;
  VmDirectory& operator=(VmDirectory&&) = delete;
  VmDirectory(const VmDirectory&) = delete;
  VmDirectory& operator=(const VmDirectory&) = delete;
  /// Removes the sockets, and the state too when this run made it and nobody said keep().
  ~VmDirectory();

  /// This run made it, and nothing has come of it yet.
  [[nodiscard]] bool is_fresh() const { return fresh_; }
  /// The VM has come to something: its state stays.
  void keep() { fresh_ = false; }
  /// All of the VM goes, now.
  Result<void> remove();
  /// Gives the VM another name, which none may have: EEXIST. Its sockets' directory goes.
  Result<void> rename(const StateDirs& dirs, const std::string& name);
  /// Another process, which was forked with the lock, goes on with the VM.
  void leave_to_child() { lock_.reset(); }
  /// Takes away what the VM has written; by a rename, so that it is there whole or not at all.
  Result<void> throw_away_upper() const;
  /// The VM goes on from `image`, which has in it what the VM has written to its root over the image of
  /// `identity`: that is taken away. A process that is killed on the way leaves the VM as it was, or as it is
  /// to be; in which case what is left to do is done by whoever opens the VM next. REQUIRES: `image` is
  /// durable.
  Result<void> go_on_from(const std::string& image, const std::string& identity) const;
  Result<void> throw_away_ephemeral() const { return remove_tree(paths_.ephemeral_upper()); }

  [[nodiscard]] const VmPaths& paths() const { return paths_; }

  /// config.json of an earlier run, or a new record with a fresh machine-id.
  Result<VmRecord> load_record() const;
  Result<void> save_record(const VmRecord& record) const { return save_vm_record(paths_, record); }

 private:
  static Result<VmDirectory> prepare(const StateDirs& dirs, const std::string& name, bool must_be_new);
  static Result<VmDirectory> lock(const StateDirs& dirs, const std::string& name, bool fresh);
  VmDirectory(std::string name, VmPaths paths, UniqueFd lock);
  Result<void> throw_away_root_upper() const;
  Result<void> throw_away_spent_upper() const;

  std::string name_;
  VmPaths paths_;
  UniqueFd lock_;
  bool fresh_ = false;  // the state directory was made by this run
};

}  // namespace layerboot::launcher
