// Sandbox: where the daemon serves from. Alone in its namespaces, with an empty root, few rights and few
// descriptors.
//
// Three steps, since an image must be found and indexed before the door is shut: enter(), hold_host() (and
// hold_layers()) or hold_share(), close(). What the process may call is apart: see seccomp.h. Why it is as it
// is: DESIGN.md, "Sandbox".
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::vfsd {

enum class SandboxMode {
  kAuto,       // namespaces where the host gives them, else a warning
  kNamespace,  // namespaces, or an error
  kNone,       // no namespaces and no private root; rights are given up all the same
};

/// What is served, as far as the rights for it go.
enum class Served : unsigned char {
  kImage,           // out of layers that are open
  kImageDirectory,  // some layer is a directory, whose files are opened one by one
  kShare,           // a directory in place
};

/// All of it is for the main thread, and before it has started any other.
class Sandbox {
 public:
  /// Descriptors that serving may take beyond those that are open when the sandbox is closed.
  static constexpr std::size_t kServingDescriptors = 512;
  /// And for each request at work: of a file, and of what is copied from or to it.
  static constexpr std::size_t kDescriptorsOfRequest = 2;
  /// Beside them, what a guest may have open of a directory in place: as many as the host lets us, within
  /// reason.
  static std::size_t share_descriptors();

  /// Leaves the host's mounts (for a copy of them), network and IPC, and every right of root that neither the
  /// upper nor close() needs. `writable`: something will be written to, `in_place` in a directory of others.
  static Result<Sandbox> enter(SandboxMode mode, bool writable, bool in_place = false);

  /// Of an image: from here on all that is opened comes from read-only mounts, and nothing of it can be
  /// opened anew, or changed, for writing. But for `upper` (empty: none) and, until close(), `caches`, which
  /// are made where missing and become mounts of their own: no path that begins at a descriptor in one leads
  /// out of it, and no device node in it can be opened. All absolute. Call before any of it is opened.
  Result<void> hold_host(const std::filesystem::path& upper,
                         const std::vector<std::filesystem::path>& caches);
  /// After hold_host(), when the layers are open and nothing in the upper is: that holds, too, of what the
  /// host has mounted meanwhile.
  Result<void> hold_layers();
  /// A directory that is served in place: a mount of its own in the same way, with all that is mounted below
  /// it now; where something is written, also later, with the attributes that it has on the host. What it
  /// gives leads there until close(). ENOTDIR or the like where there is none.
  Result<std::filesystem::path> hold_share(const std::filesystem::path& share);

  /// Call when all is open: an empty, read-only root with nothing but /proc/self/fd, no umask, few
  /// descriptors, and no right but what an upper or `served` needs; few for `recorded_upper`. `in_flight`:
  /// requests that may be at work at a time, each of which has descriptors of its own.
  Result<void> close(Served served, std::size_t in_flight, bool recorded_upper = false);

  /// False for kNone, and where kAuto got none.
  [[nodiscard]] bool has_namespaces() const { return has_namespaces_; }
  /// Whether other users have the numbers that they have on the host: not in a user namespace of ours.
  [[nodiscard]] bool knows_users() const { return is_root_ || !has_namespaces_; }

 private:
  Sandbox() = default;
  Result<void> enter_namespaces();
  Result<void> shut_host_mounts();

  bool has_namespaces_ = false;
  bool writable_ = false;
  bool is_root_ = false;
  UniqueFd upper_;                // its mount, until close()
  UniqueFd share_;                // its mounts, until they are in the private root
  std::vector<UniqueFd> caches_;  // the mounts, until they are read-only
  int death_signal_ = 0;          // the launcher's for its own end, which a change of rights may clear
  pid_t parent_ = 0;
};

}  // namespace layerboot::vfsd
