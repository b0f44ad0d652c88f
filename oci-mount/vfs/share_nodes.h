// ShareNodes: the objects of a shared directory that a client knows.
//
// A node remembers the place where its object was seen last, not a descriptor: a client may know more objects
// than there are descriptors. Whoever changes the directory on the host may make that wrong; the object at
// the place is then another one, and the client is told ESTALE and looks anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/result.h"
#include "oci-mount/overlay/fd_cache.h"
#include "oci-mount/vfs/share_object.h"

namespace layerboot::vfs {

struct ShareNode {
  NodeId id = 0;
  Identity identity;
  std::shared_ptr<ShareNode> parent;  // none: the root, or an object whose name is gone
  std::string name;
  std::uint64_t references = 0;    // the client's
  std::uint32_t children = 0;      // nodes that have this one as parent
  std::uint32_t pins = 0;          // for what else it has to stay
  std::uint64_t memory_bytes = 0;  // of the memory budget
  Time opened;                     // its time of change when the client opened it last
  overlay::SharedFd held;          // of a file without a name: all that leads to it
  bool erased = false;             // the client has let go of it
  bool is_served = false;          // it is known to lie on no file system of the kernel's own

  [[nodiscard]] bool is_root() const { return id == kRootId; }
};
using ShareNodePtr = std::shared_ptr<ShareNode>;

/// Not thread-safe: under its owner's lock.
class ShareNodes {
 public:
  /// What a node takes beside a name too long to lie in it: itself, its places in the tables, the allocator's
  /// part.
  static constexpr std::int64_t kNodeBytes = sizeof(ShareNode) + 160;

  /// Whether there is room for a node or a name; kAsked: has_room() was true before something was done that
  /// can't be undone.
  enum class Room { kAsk, kAsked };

  /// Nodes are paid for out of `budget`, which outlives this: ENOMEM at its limit.
  ShareNodes(const Identity& root, MemoryBudget& budget);
  ~ShareNodes();
  ShareNodes(const ShareNodes&) = delete;
  ShareNodes& operator=(const ShareNodes&) = delete;

  /// ESTALE where the client knows no such node.
  [[nodiscard]] Result<ShareNodePtr> find(NodeId id) const;
  /// Null where the client does not know it.
  [[nodiscard]] ShareNodePtr known(const Identity& identity) const;
  /// The node of an object that was just seen as `name` in `parent`, made where there is none. Its place is
  /// from now on that one. Without references it is to be released. ENOMEM.
  Result<ShareNodePtr> put(const ShareNodePtr& parent, std::string_view name, const Identity& identity,
                           Room room = Room::kAsk);
  /// An object that has no name, by its descriptor. REQUIRES: there was has_room(kNodeBytes).
  ShareNodePtr put_nameless(const Identity& identity, overlay::SharedFd held);

  /// What a new node takes, called `name`.
  [[nodiscard]] static std::int64_t bytes_of_new(std::string_view name);
  /// What `node` takes more, or less, where it is called `name`.
  [[nodiscard]] static std::int64_t growth(const ShareNode& node, std::string_view name);
  /// Whether so much more may be known of objects.
  [[nodiscard]] bool has_room(std::int64_t bytes);

  /// Relative to the root, which is ".". ESTALE where a name on the way is gone, ENAMETOOLONG.
  [[nodiscard]] static Result<std::string> path(const ShareNode& node);

  /// Its name is `name` in `parent` now, which takes its growth() anyway. Where what is remembered says that
  /// it would lie below itself, the host has changed under our hands: then it has no name, and the client
  /// looks anew.
  void move(const ShareNodePtr& node, const ShareNodePtr& parent, std::string_view name);
  /// Its name is gone. `held` may be null: then nothing leads to it any more.
  void lose_name(const ShareNodePtr& node, overlay::SharedFd held);
  /// How many nodes hold a descriptor.
  [[nodiscard]] std::size_t held() const { return held_count_; }

  /// Takes references back; unknown ids are ignored. The node, if the client has none any more.
  ShareNodePtr forget(NodeId id, std::uint64_t count);
  /// Ends it, and what only it kept, unless somebody has it.
  void release_if_unused(ShareNodePtr node);
  void forget_all();

 private:
  /// An inode's, of one mount.
  struct Number {
    std::uint64_t mount;
    std::uint64_t ino;
    friend bool operator==(const Number&, const Number&) = default;
  };
  struct HashOfNumber {
    std::size_t operator()(const Number& number) const {
      return std::hash<std::uint64_t>()(number.ino ^ number.mount * 0x9e3779b97f4a7c15U);
    }
  };
  static Number number_of(const Identity& identity) { return {identity.mount, identity.ino}; }

  ShareNodePtr add(const Identity& identity);
  void set_name(ShareNode& node, std::string_view name);
  void set_parent(ShareNode& node, const ShareNodePtr& parent);

  Identity root_identity_;
  MemoryBudget& budget_;
  std::unordered_map<NodeId, ShareNodePtr> by_id_;
  std::unordered_map<Number, ShareNode*, HashOfNumber> by_number_;
  NodeId next_id_ = kRootId + 1;  // never used again: an old one is unknown, not another object
  std::size_t held_count_ = 0;
};

}  // namespace layerboot::vfs
