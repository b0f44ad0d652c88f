// Objects: how objects come into memory as Nodes, what is known of them there, and how they go.
//
// Under the Overlay's lock, which Pin takes by itself.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/burials.h"
#include "oci-mount/overlay/ledger.h"
#include "oci-mount/overlay/lower.h"
#include "oci-mount/overlay/lower_paths.h"
#include "oci-mount/overlay/node_table.h"
#include "oci-mount/overlay/overlay_lock.h"
#include "oci-mount/overlay/places.h"
#include "oci-mount/overlay/redirects.h"

namespace layerboot::overlay {

class Objects {
 public:
  /// A host frees some gigabytes a second; beyond this it takes longer than others should wait.
  static constexpr std::uint64_t kLargeBytes = 8U << 20;

  /// All outlive it.
  Objects(const Lower& lower, LowerPaths& paths, Places& places, Ledger& ledger, NodeTable& nodes,
          MemoryBudget& memory, OverlayLock& mutex, Burials& burials);

  // ---- attributes
  /// Read from the host where what is known is old, and charged then.
  Result<Attr> attr_of(Node& node);
  /// The object's attributes have changed: books what it takes now.
  Result<void> recount_attributes(Node& node, Place place);
  /// Gives the object a mark of ours, of `value_bytes`, by calling `set` with its place: what that takes is
  /// reserved before, and booked after. False where the host has no room for it there.
  Result<bool> set_mark(Node& node, std::string_view mark, std::size_t value_bytes,
                        const std::function<Result<void>(Place)>& set);
  /// Attributes of which mode and owner are right, and of a file its size.
  Result<Attr> owner_of(Node& node);
  /// Takes over what the host says of the object, and charges it.
  /// `ahead_bytes` as Ledger::charge() has it.
  void book(Node& node, const struct stat& st, std::optional<std::uint64_t> ahead_bytes = std::nullopt);
  /// The same of a file, as its descriptor shows it. Nothing where the host does not say.
  void book_data(Node& node, int fd);
  /// The same after a cut to `size_bytes`, or where blocks were given for others: Ledger::note_cut(),
  /// note_replaced().
  void book_cut(Node& node, int fd, std::uint64_t size_bytes, bool is_on_disk);
  void book_replaced(Node& node, int fd, std::uint64_t replaced_bytes);
  /// A directory has one more name: its times are old, and now and then it is looked at.
  void add_name(Node& directory, std::string_view name);

  // ---- to the client, who holds one more reference then
  Result<Entry> entry_for(const NodePtr& node);
  /// After the host's last step, when nothing may fail: `expected` where the host does not tell what it has.
  Entry entry_for(const NodePtr& node, const Attr& expected);
  Entry entry_for_row(tree::NodeId row);

  [[nodiscard]] MemoryBudget& memory() const { return memory_; }

  // ---- into memory
  /// Before a request has looked at anything: what requests before have left in memory goes, as one that
  /// failed does, or one that moved a directory's last child away; and where memory is short, listings that
  /// nobody needs.
  void ask_for_room();
  /// The same for a request that is going to make objects or names; ENOMEM at the memory limit.
  Result<void> make_room();
  /// The session's Node of "/".
  void load_root();
  /// The Node of `child`, which is `name` in `directory`. A name that the client had removed keeps the object
  /// from the work directory on.
  Result<NodePtr> load(const NodePtr& directory, const std::string& name, Child& child);
  /// Not in the table, and nothing known of it.
  [[nodiscard]] NodePtr new_node() { return Node::make(memory_); }
  /// The Node of a body that was just made, charged as a new object; not yet in the table.
  NodePtr make_node(const Nature& nature, const struct stat& st);
  /// The same of a row's copy; `node` may be what was known of the row.
  void become_copy(const NodePtr& node, tree::NodeId row, const struct stat& st);

  // ---- what a name needs on the host beside itself
  /// Copies and marks that objects of the upper have got so far: without them a name that is durable would
  /// lead to another content than the client has seen.
  [[nodiscard]] std::uint64_t marks_made() const { return marks_made_; }
  /// All that were made by then are durable.
  void marks_synced(std::uint64_t made) { marks_durable_ = std::max(marks_durable_, made); }
  [[nodiscard]] bool marks_are_durable() const { return marks_durable_ == marks_made_; }

  // ---- blocks of files that requests use without the lock (BlocksInUse)
  /// Whether a request that can reserve nothing may write to [offset, end), since the file has its blocks:
  /// then it is counted into `relying`, and end_relying() is to follow. Asks the host, for which this is
  /// called without the lock.
  [[nodiscard]] bool rely_on_blocks(Node& node, int fd, std::uint64_t offset, std::uint64_t end);
  void end_relying(Node& node, int fd);
  /// What has cut or punched the file, or moved its blocks, and counted itself into `freeing`, is done: it
  /// has freed what the host says, or made a hole of `hole_bytes` by moving what was there.
  void end_freeing(Node& node, int fd, std::uint64_t hole_bytes = 0);

  // ---- what the host allocates beyond a file's end as it grows (Tariff::allocates_ahead)
  /// Gives it back, unless somebody changes the file's data at this moment, whose new end is not known yet.
  void give_back_ahead(Node& node, int fd);
  /// Ledger::reserve(), for all that is going to take space; where there is no room, files that nobody
  /// changes give back what is ahead of them, if that can be enough.
  Result<Quota::Reservation> reserve(std::uint64_t bytes, std::uint64_t inodes,
                                     Budget budget = Budget::kKeep);
  /// The same, called without the lock, which is taken only where there is no room at first.
  Result<Quota::Reservation> reserve_without_lock(std::uint64_t bytes, std::uint64_t inodes);

  // ---- out of it
  /// Whether a file that nobody holds, and that has further names, may leave memory with the one by which it
  /// is known: it is met again by another.
  [[nodiscard]] bool may_lose_name(const Node& node) const;
  /// It has lost that name. `st` is of before.
  void lose_name(Node& node, struct stat st);
  /// Before an object loses what may be its last name: what keeps the host from freeing it at once, for
  /// bury(). Nothing where it is small enough to be freed under the lock.
  [[nodiscard]] SharedFd hold_large(const Node& node, Place place);
  /// The object is no more. `held`: by hold_large(), if at all.
  void bury(Node& node, SharedFd held);
  /// An object whose last name is gone goes with the client's last reference; others leave memory.
  void release_if_unused(NodePtr node);
  /// A file that its descriptor keeps alive for the client needs no name in the work directory. False where
  /// it has to be kept, or need not be kept at all, in another way.
  bool make_orphan(Node& node);
  /// Takes that back.
  void unmake_orphan(Node& node);
  /// Before a directory loses its name: what keeps it alive for a client that holds it, so that its
  /// attributes can be asked for and changed as long. Null where nobody holds it, or too many are kept so.
  [[nodiscard]] SharedFd hold_directory(const NodePtr& directory);
  /// It has lost its name, and what it had in it. `held`: by hold_directory(), if at all.
  void drop_directory(Node& directory, SharedFd held);
  /// A body without a name is the Node's from now on. False where too many are kept so.
  bool adopt_orphan(Node& node, SharedFd fd);
  /// What the host has not yet allocated for files: it is made to, or remembered by the ledger.
  enum class Late { kOnDisk, kRemembered };
  /// What only the client kept alive goes, and all that is in memory is looked at and charged as the host has
  /// it then: the count is right, but for what is still at work. For the end of a session.
  Result<void> settle_all(Late late);
  /// Forgets all Nodes; what only the client kept alive goes. The budget is right after the next count.
  void end_session();

  /// Keeps a Node known while a request works on it, whatever the client forgets meanwhile: a Node out of the
  /// table is a place that may mean something else by then. Made under the lock and, unless moved from,
  /// destroyed without it.
  class Pin {
   public:
    Pin(Objects& objects, NodePtr node) : objects_(&objects), node_(std::move(node)) {
      ++node_->holders.pins;
    }
    Pin(Pin&& other) noexcept
        : objects_(std::exchange(other.objects_, nullptr)), node_(std::move(other.node_)) {}
    Pin& operator=(Pin&& other) = delete;
    ~Pin();
    [[nodiscard]] const NodePtr& node() const { return node_; }

   private:
    Objects* objects_;
    NodePtr node_;
  };
  Result<Pin> pin(Result<NodePtr> node);

  /// The same for a request that has the lock at both ends, whole or in part.
  class Keep {
   public:
    Keep(Objects& objects, NodePtr node) : objects_(objects), node_(std::move(node)) {
      ++node_->holders.pins;
    }
    Keep(const Keep&) = delete;
    Keep& operator=(const Keep&) = delete;
    ~Keep() { objects_.unpin(std::move(node_)); }

   private:
    Objects& objects_;
    NodePtr node_;
  };

 private:
  /// More than nearly any request brings into memory. What brings more (a file with many names, a deep
  /// directory copied up) passes the limit by that, and the next one is refused.
  static constexpr std::uint64_t kRequestBytes = 8U << 10;

  void unpin(NodePtr node);
  void let_go_of_loose();
  void let_go_of_listings();
  void let_go_of_listing(Node& directory);
  Result<NodePtr> keep_by_name(const NodePtr& node, const NodePtr& directory, const std::string& name);
  [[nodiscard]] bool is_numbered_by(const MergedName& merged, tree::NodeId origin,
                                    const struct stat& st) const;
  Result<tree::NodeId> origin_of(const Node& directory, const std::string& name, Place place,
                                 const struct stat& st, Node& node);
  bool is_to_keep_ahead(const Node& node, int fd);
  void book_with_ahead(Node& node, int fd);
  void close_ahead(Node& node);
  bool is_to_be_settled(Node& node);
  bool free_work_object(Node& node);
  void part_with(Node& node);
  void free_orphan(Node& node);
  void free_unnamed();

  const Lower& lower_;
  LowerPaths& paths_;
  Places& places_;
  Ledger& ledger_;
  NodeTable& nodes_;
  MemoryBudget& memory_;
  OverlayLock& mutex_;
  Burials& burials_;
  std::uint64_t marks_made_ = 0;
  std::uint64_t marks_durable_ = 0;
  /// Unlinked files that are kept by a descriptor alone.
  const std::size_t max_orphans_;
  std::chrono::steady_clock::time_point next_let_go_;
  std::size_t orphans_ = 0;
};

using Pin = Objects::Pin;

}  // namespace layerboot::overlay
