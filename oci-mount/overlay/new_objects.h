// NewObjects: what new objects inherit from their directory, and how they get their body and their name.
// Follows vfs_create(), inode_init_owner() and posix_acl_create() of Linux. Under the Overlay's lock.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/parts.h"

namespace layerboot::overlay {

/// As the client wants it.
struct NewObject {
  std::uint32_t mode = 0;  // with the type bits
  std::uint32_t rdev = 0;
  std::string_view target;  // of a symlink
  Caller caller;
  WorkFile* prepared = nullptr;  // by NewObjects::prepare_target(), where that is to be asked
};

class NewObjects {
 public:
  explicit NewObjects(Parts& parts) : parts_(parts) {}

  /// In the work directory, without a Node yet.
  struct Unnamed {
    HeldPlace work;
    Nature nature;
    Body body;
    bool has_acls = false;
    Quota::Reservation reserved;  // for the ACLs, until they are counted
  };

  /// Whether prepare_target() is to be asked before make().
  [[nodiscard]] bool needs_target(const NewObject& object) const;
  /// Writes the long target of a symlink to `prepared`, for make(). Without the lock, but for a moment: it
  /// waits for the host's disk. EEXIST where the name is taken.
  Result<void> prepare_target(NodeId parent, std::string_view name, const NewObject& object,
                              WorkFile& prepared);

  /// An object called `name`, which the client sees nothing by. EEXIST otherwise. Under the whole lock.
  Result<NodePtr> make(NodeId parent, std::string_view name, const NewObject& object);
  /// As make(), but while the host makes the object, others have the lock. Null where it takes more than one
  /// call of the host: make() is to be asked then.
  Result<NodePtr> make_beside_others(PartLock& lock, NodeId parent, std::string_view name,
                                     const NewObject& object);
  /// A regular file without a name, which the client is to hold.
  Result<NodePtr> make_nameless(NodeId parent, const NewObject& object);

  /// A whole object in the work directory that inherits nothing: to be placed, or discarded.
  Result<Unnamed> make_unnamed(const Nature& nature);
  void discard(const Unnamed& made);
  /// Gives it a name that is free to the client, in the place of a whiteout if there is one, at one stroke;
  /// discards it on failure.
  Result<NodePtr> place(const NodePtr& directory, std::string_view name, Unnamed made);
  /// It has got its name on the host, by whoever asks; what was in memory under the name is out of it.
  NodePtr placed(const NodePtr& directory, std::string_view name, Unnamed made);

 private:
  struct Inheritance {
    Nature nature;
    std::string access_acl;  // "" for none
    std::string default_acl;
    bool hands_down_group = false;  // the directory does
  };

  Result<std::string> default_acl_of(const Ref& directory);
  Result<Inheritance> inherit(const Ref& directory, NewObject object);
  Result<void> set_inherited_acls(Unnamed& made, const Inheritance& inheritance);
  Result<Unnamed> make_unnamed(const Inheritance& inheritance, const NewObject& object);
  Result<NodePtr> make_in(const NodePtr& directory, std::string_view name, const NewObject& object);
  [[nodiscard]] Making making_in_place(const Found& found, const Inheritance& inheritance) const;
  void count_attributes_of(Node& node, bool has_acls);
  NodePtr name_new_node(const NodePtr& directory, std::string_view name, const Nature& nature, Body body,
                        Making making);

  Parts& parts_;
  // Whose the host makes what we make.
  const std::uint32_t uid_ = ::geteuid();
  const std::uint32_t gid_ = ::getegid();
};

}  // namespace layerboot::overlay
