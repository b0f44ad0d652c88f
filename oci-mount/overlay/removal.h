// Removal: taking names away, and the whiteouts that they leave. Under the Overlay's lock.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/overlay/parts.h"

namespace layerboot::overlay {

class Removal {
 public:
  explicit Removal(Parts& parts) : parts_(parts) {}

  /// unlink(2) and rmdir(2). Under the whole lock. What then lies in the work directory, to be freed without
  /// the lock, is in `leftover`.
  Result<void> remove(NodeId parent, std::string_view name, bool is_directory,
                      std::optional<HeldPlace>& leftover);
  /// unlink(2) of a file that needs no more than one call of the host, during which others have the lock.
  /// False where it needs more: remove() is to be asked then.
  Result<bool> unlink_beside_others(PartLock& lock, NodeId parent, std::string_view name);
  /// Frees it.
  static void discard(const HeldPlace& leftover);

  /// Whiteouts that go from the host under the lock; more are removed without it.
  static constexpr std::size_t kFewWhiteouts = 64;
  /// Removes the whiteouts of an opaque directory, a few at a time, during which others have the lock. The
  /// caller keeps it pinned. Without the lock.
  Result<void> clear_whiteouts_beside_others(const NodePtr& directory);
  /// The same of few, under the whole lock.
  Result<void> clear_whiteouts(const NodePtr& directory);

  /// A directory of the upper has lost its name on the host. `held`: by Objects::hold_directory().
  void drop_directory(const NodePtr& node, SharedFd held);

  /// A file, or whatever is no directory, of the upper that is to lose a name.
  struct Leaving {
    NodePtr node;
    bool is_reached_here = false;  // by that name its Node is found
    /// It lives on, since the client holds it or it has other names: where its Node is found by the name that
    /// it loses, it needs one in the work directory.
    bool needs_name = false;
    std::optional<struct stat> with_others;  // of one that is met again by another name
    SharedFd large;                          // keeps the host from freeing it under the lock
  };
  Result<Leaving> prepare_to_leave(const NodePtr& directory, const std::string& name, const NodePtr& node);
  /// It has lost the name on the host. `work_name`: of one that needs a name.
  void leave(Leaving leaving, const std::string& work_name);

 private:
  Result<void> remove_name(const NodePtr& directory, const std::string& name, const Found& found);
  Result<void> remove_row_name(const NodePtr& directory, const std::string& name, tree::NodeId row);
  Result<void> remove_directory(const NodePtr& directory, const std::string& name, const Found& found,
                                std::optional<HeldPlace>& leftover);
  Result<bool> clear_some_whiteouts(PartLock& lock, const NodePtr& directory);
  Result<void> swap_for_whiteout(Place place, Place work);

  Parts& parts_;
};

}  // namespace layerboot::overlay
