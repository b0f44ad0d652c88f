// Overlay: the writable union of an image's tree and an upper directory.
//
// Follows Linux's overlayfs in what it leaves on the host (FORMAT.md), so that a stopped VM's disk can be
// mounted by it. The lower tree is immutable and the upper has no other writer, so what is known once stays
// true: upper directories are read once and then kept in memory, and most lookups cost no system call.
//
// Nodes: a lower object keeps its row in the tree as its id, for good, also when it was copied up or renamed;
// an object born in the upper is numbered by its inode on the host. "Touched" is a lower object that the
// overlay has a Node for; all others are answered from the tree without a lock.
//
// Thread-safe. One lock guards all Nodes; it is never held while a Task waits. The methods are
// vfs::FileSystem's, and are described there.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <coroutine>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/task.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/fd_cache.h"
#include "oci-mount/overlay/late_growth.h"
#include "oci-mount/overlay/lower.h"
#include "oci-mount/overlay/node.h"
#include "oci-mount/overlay/quota.h"
#include "oci-mount/overlay/types.h"
#include "oci-mount/overlay/upper.h"

namespace layerboot::overlay {

class Overlay {
 public:
  struct Options {
    std::filesystem::path directory;
    std::string image_identity;
    Quota::Limits limits;
    Keeping keeping = Keeping::kNative;  // of a new upper; see Upper::open()
  };

  /// Opens the upper (see Upper::open) and counts what it takes. What `lower` refers to outlives the Overlay.
  static Result<std::unique_ptr<Overlay>> open(Lower lower, const Options& options);
  ~Overlay();

  void reset();

  Result<Entry> lookup(NodeId parent, std::string_view name);
  void forget(NodeId id, std::uint64_t count);
  Result<Attr> getattr(NodeId id);
  Task<Result<Attr>> setattr(Reactor& reactor, NodeId id, AttrChange change);
  Result<std::string> readlink(NodeId id);

  Result<Entry> mknod(NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t rdev,
                      Caller caller);
  Result<Entry> mkdir(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller);
  Result<Entry> symlink(NodeId parent, std::string_view name, std::string_view target, Caller caller);
  Result<Entry> create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                       Caller caller);
  Result<Entry> tmpfile(NodeId parent, std::uint32_t mode, Caller caller);
  Result<void> unlink(NodeId parent, std::string_view name);
  Result<void> rmdir(NodeId parent, std::string_view name);
  Task<Result<Entry>> link(Reactor& reactor, NodeId id, NodeId new_parent, std::string_view new_name);
  Task<Result<void>> rename(Reactor& reactor, NodeId parent, std::string_view name, NodeId new_parent,
                            std::string_view new_name, std::uint32_t flags);

  Result<void> readdir(NodeId directory, std::uint64_t cookie, bool with_nodes, const AddEntry& add);

  Result<std::int64_t> try_read(NodeId id, std::uint64_t offset, std::span<const iovec> into);
  Task<Result<std::size_t>> read(Reactor& reactor, NodeId id, std::uint64_t offset,
                                 std::span<const iovec> into);
  Result<std::int64_t> try_write(NodeId id, std::uint64_t offset, std::span<const iovec> from,
                                 bool kill_suid_sgid);
  Task<Result<std::size_t>> write(Reactor& reactor, NodeId id, std::uint64_t offset,
                                  std::span<const iovec> from, bool kill_suid_sgid);
  Task<Result<void>> fsync(Reactor& reactor, NodeId id, bool data_only);
  Task<Result<void>> fallocate(Reactor& reactor, NodeId id, std::uint32_t mode, std::uint64_t offset,
                               std::uint64_t length_bytes);
  Result<std::uint64_t> lseek(NodeId id, std::uint64_t offset, std::uint32_t whence);

  Result<std::string> getxattr(NodeId id, std::string_view name);
  Result<std::string> listxattr(NodeId id);
  Task<Result<void>> setxattr(Reactor& reactor, NodeId id, std::string_view name, std::string_view value,
                              std::uint32_t flags);
  Task<Result<void>> removexattr(Reactor& reactor, NodeId id, std::string_view name);

  Result<StatFs> statfs();
  /// A descriptor of the upper's file system, for syncfs(2). Borrowed.
  [[nodiscard]] int upper_fd() const { return upper_.root_fd(); }
  [[nodiscard]] Quota& quota() { return quota_; }

 private:
  /// An id looked up: a Node, or an untouched row of the tree (then node is null).
  struct Ref {
    NodePtr node;
    tree::NodeId lower = tree::kNoNode;
    [[nodiscard]] bool has_lower_data() const { return !node || !node->in_upper || node->data_below; }
  };
  /// A name looked up in a directory.
  struct Found {
    Child* child = nullptr;                    // what the upper says of it, if anything
    tree::NodeId lower_below = tree::kNoNode;  // what the lower directory has by that name, seen or hidden
    [[nodiscard]] bool in_upper() const { return child != nullptr && !child->whiteout; }
    [[nodiscard]] tree::NodeId visible_lower() const {
      return child == nullptr ? lower_below : tree::kNoNode;
    }
    [[nodiscard]] bool exists() const { return in_upper() || visible_lower() != tree::kNoNode; }
  };
  /// A place whose directory descriptor is kept open.
  struct HeldPlace {
    FdCache::Fd directory;
    std::string name;
    [[nodiscard]] Place get() const { return {directory->get(), name.c_str()}; }
  };
  /// Copies of one file under way, and who waits for it.
  struct CopyUp {
    struct Waiter {
      Reactor& reactor;
      std::coroutine_handle<> handle;
    };
    std::vector<Waiter> waiters;
  };
  class CopyUpEnd;
  class CopyUpWait;
  /// Keeps a Node known while a request works on it, whatever the client forgets meanwhile. Made under the
  /// lock and, unless moved from, destroyed without it.
  class Pin {
   public:
    Pin(Overlay& overlay, NodePtr node) : overlay_(&overlay), node_(std::move(node)) { ++node_->pins; }
    Pin(Pin&& other) noexcept
        : overlay_(std::exchange(other.overlay_, nullptr)), node_(std::move(other.node_)) {}
    Pin& operator=(Pin&& other) = delete;
    ~Pin();
    [[nodiscard]] const NodePtr& node() const { return node_; }

   private:
    Overlay* overlay_;
    NodePtr node_;
  };
  /// Whether the budget may be exceeded: only by what makes room, so that rm works when the disk is full.
  enum class Budget { kKeep, kMayExceed };

  Overlay(Lower lower, Upper upper, Quota::Limits limits, Quota::Usage used);
  Result<Pin> pin(Result<NodePtr> node);
  [[nodiscard]] Keeping keeping() const { return upper_.keeping(); }
  [[nodiscard]] const Marks& marks() const { return marks_of(upper_.keeping()); }

  // ---- lower references and marks, lock-free (overlay.cc)
  [[nodiscard]] bool untouched(NodeId id) const;
  void touch(tree::NodeId id);
  void add_lower_reference(tree::NodeId id);
  [[nodiscard]] std::uint32_t lower_references(tree::NodeId id) const;

  // ---- everything below runs under mutex_ ----
  // Nodes (overlay.cc)
  void start_session();
  void end_session();
  Result<void> load_moved_directories(const std::vector<std::string>& paths);
  Result<Ref> find(NodeId id);
  Result<Ref> find_directory(NodeId id);
  Result<NodePtr> load_child(const NodePtr& directory, const std::string& name, Child& child);
  tree::NodeId lower_named(const Node& directory, const std::string& name,
                           const std::optional<std::string>& redirect);
  Result<tree::NodeId> merged_lower(const Node& directory, const std::string& name, Place place);
  [[nodiscard]] NodeId number_for(tree::NodeId origin, std::uint64_t host_ino);
  NodePtr add_node(NodePtr node);
  void move_node(const NodePtr& node, const NodePtr& parent, std::string name);
  Result<Attr> attr_of(Node& node);
  void book(Node& node, const struct stat& st);
  void book_new_name(Node& directory, std::string_view name);
  void add_reference(Node& node);
  Result<Entry> entry_for(const NodePtr& node);
  Entry entry_for_lower(tree::NodeId id);
  void release_if_unused(NodePtr node);
  void remember_growth(const Node& node);
  void forget_node(const NodePtr& node);
  bool free_work_object(Node& node);
  bool make_orphan(Node& node);
  void free_orphan(Node& node);
  Result<Attr> owner_of(Node& node);

  // Places on the host (places.cc)
  Result<FdCache::Fd> directory_fd(const NodePtr& directory);
  Result<FdCache::Fd> file_fd(const NodePtr& node);
  Result<HeldPlace> place_of(const NodePtr& node);
  Result<HeldPlace> place_in(const NodePtr& directory, std::string_view name);
  HeldPlace work_place();

  // Directories (listing.cc)
  Result<Listing*> listing_of(const NodePtr& directory);
  Result<Found> look(const Ref& directory, std::string_view name);
  void put_child(Node& directory, std::string_view name, Child child);
  void erase_child(Node& directory, std::string_view name);
  Result<bool> is_empty(const NodePtr& directory);
  Result<void> list_upper_only(const NodePtr& directory, std::uint64_t from, bool with_nodes,
                               const AddEntry& add, bool& full);
  bool give_entry(const NodePtr& directory, const std::string& name, Child& child, std::uint64_t next_cookie,
                  bool with_nodes, const AddEntry& add);
  [[nodiscard]] NodeId parent_of(const Ref& directory) const;

  // Making and removing names (names.cc, removal.cc, rename.cc)
  struct NewObject {
    std::uint32_t mode = 0;
    std::uint32_t rdev = 0;
    std::string_view target;
    Caller caller;
  };
  Result<Entry> make(NodeId parent, std::string_view name, NewObject object);
  // New objects (new_object.cc)
  struct Inheritance {
    Nature nature;
    std::string access_acl;  // "" for none
    std::string default_acl;
  };
  /// In the work directory, without a Node yet.
  struct Unnamed {
    HeldPlace work;
    Nature nature;
    Body body;
  };
  Result<std::string> default_acl_of(const Ref& directory);
  Result<Inheritance> inherit(const Ref& directory, NewObject object);
  Result<void> set_inherited_acls(Place place, const Inheritance& inheritance);
  Result<Unnamed> make_unnamed(const Ref& directory, const NewObject& object);
  Result<Unnamed> make_unnamed(const Inheritance& inheritance, std::string_view target);
  void discard(const Unnamed& made);
  Result<NodePtr> place_unnamed(const NodePtr& directory, std::string_view name, Unnamed made);
  Result<NodePtr> make_named(const NodePtr& directory, std::string_view name, const NewObject& object);
  NodePtr node_for(const NodePtr& directory, std::string_view name, const Nature& nature,
                   const struct stat& st);
  NodePtr name_new_node(const NodePtr& directory, std::string_view name, const Nature& nature, Body body);

  Result<void> remove(NodeId parent, std::string_view name, bool is_directory);
  Result<void> swap_for_whiteout(Place place, Place work);
  void book_out(Node& node);
  void drop_directory(const NodePtr& node);
  Result<void> remove_name(const NodePtr& directory, const std::string& name, Found found);
  Result<void> remove_lower_name(const NodePtr& directory, const std::string& name, tree::NodeId lower);
  Result<void> remove_directory(const NodePtr& directory, const std::string& name, Found found);
  Result<void> clear_whiteouts(const NodePtr& directory);
  void forget_removed_directory(const NodePtr& node);
  struct RenameSide {
    NodePtr directory;
    std::string name;
    Found found;
    NodePtr node;  // null where nothing has the name
  };
  Result<RenameSide> rename_side(NodeId directory, std::string_view name);
  Result<void> rename_now(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
                          std::uint32_t flags);
  Result<void> check_rename_target(const RenameSide& from, const RenameSide& to, std::uint32_t flags);
  Result<NodeId> file_to_copy_up(NodeId parent, std::string_view name);
  Result<void> mark_moved(const RenameSide& from, const RenameSide& to);
  Result<void> make_opaque(const NodePtr& directory);
  Result<void> move_leaving_device(const RenameSide& from, const RenameSide& to);
  Result<void> exchange(const RenameSide& from, const RenameSide& to);
  Result<void> move_over(const RenameSide& from, const RenameSide& to);
  Result<void> move_onto_host(const RenameSide& from, const RenameSide& to);
  Result<void> check_link(NodeId id, NodeId new_parent, std::string_view new_name);
  Result<Entry> link_now(const NodePtr& node, NodeId new_parent, std::string_view new_name);

  // Link counts (lost_names.cc)
  void lose_lower_name(tree::NodeId lower);
  NodePtr node_with_lost_names(tree::NodeId lower, std::uint32_t count);
  Result<bool> is_shown(tree::NodeId directory);
  Result<bool> is_lower_name_shown(tree::NodeId directory, std::string_view name);
  Result<void> finish_copy(tree::NodeId lower);
  Result<void> load_lost_names();

  // Writing (data.cc)
  struct WriteGrant {
    FdCache::Fd fd;
    Quota::Reservation reserved;
    std::uint64_t growth_bytes = 0;  // reserved
    std::uint64_t size_bytes = 0;    // of the file before
    bool leaves_hole = false;
  };
  Result<WriteGrant> prepare_write(const NodePtr& node, std::uint64_t offset, std::uint64_t length,
                                   bool kill_suid_sgid);
  static std::uint64_t worst_growth(Node& node, int fd, std::uint64_t offset, std::uint64_t end);
  void settle_write(const NodePtr& node, WriteGrant grant);

  // Copy-up (copy_up.cc)
  Result<NodePtr> upper_directory(NodeId id, Budget budget = Budget::kKeep);
  Result<NodePtr> copy_up_directory(const NodePtr& parent, const std::string& name, tree::NodeId lower,
                                    Budget budget);
  enum class Data { kNone, kBelow };
  Result<NodePtr> copy_up_at_once(tree::NodeId lower, Data data);
  Result<void> copy_metadata(Place place, tree::NodeId lower);
  Result<NodePtr> place_copy(tree::NodeId lower, Place copy, const struct stat& st, Data data);
  Result<void> link_other_names(tree::NodeId lower, const NodePtr& node);
  Result<bool> still_named(tree::NodeId directory, std::string_view name, tree::NodeId lower, NodePtr& in);
  Result<void> keep_times(const NodePtr& directory, const Attr& before);

  // ---- without the lock ----
  /// The Node of `id` in the upper, copied up if need be: with no more than `data_bytes` of a regular file's
  /// data, or without it, where only the rest is to change.
  Task<Result<Pin>> copy_up(Reactor& reactor, NodeId id, std::optional<std::uint64_t> data_bytes);
  Task<Result<Pin>> copy_up_file(Reactor& reactor, tree::NodeId lower, std::uint64_t data_bytes);
  Task<Result<void>> copy_data(Reactor& reactor, tree::NodeId lower, int to_fd, std::uint64_t data_bytes);
  static std::uint64_t worst_copy_bytes(const tree::NodeRecord& record, std::uint64_t data_bytes);
  Task<Result<Pin>> fill(Reactor& reactor, Pin pin, std::uint64_t data_bytes);
  // Metacopies, under the lock (metacopy.cc)
  Result<tree::NodeId> load_metacopy(const Node& directory, const std::string& name, Place place,
                                     const struct stat& st);
  Result<void> redirect_data(Node& node);
  Result<FdCache::Fd> begin_filling(const NodePtr& node);
  Result<void> keep_data(Node& node, int fd, std::uint64_t data_bytes);
  Result<void> end_filling(Node& node, int fd, Result<void> filled, std::uint64_t data_bytes);
  // Under the lock (data.cc, xattrs.cc)
  Result<void> set_acl(const NodePtr& node, Place place, std::string_view name, std::string_view value,
                       bool kill_sgid);
  Result<void> apply(const NodePtr& node, const AttrChange& change);
  enum class Owner { kStays, kSet };
  Result<void> set_nature(Node& node, Place place, const Nature& nature, Owner owner);
  Result<void> follow_mode_in_acl(Place place, std::uint32_t mode);
  Result<void> drop_capability(Node& node, Place place);

  /// Unlinked files that are kept by a descriptor alone.
  static constexpr std::size_t kMaxOrphans = 64;
  static constexpr std::uint64_t kAllData = UINT64_MAX;
  static constexpr std::nullopt_t kNoData = std::nullopt;
  static constexpr std::uint32_t kTouched = 1U << 31;
  static constexpr std::uint32_t kReferences = kTouched - 1;

  Lower lower_;
  Upper upper_;
  Quota quota_;
  // By row of the tree: the client's references, and kTouched.
  std::unique_ptr<std::atomic<std::uint32_t>[]> lower_state_;

  // Writes still to go through the ring because one that did not was slow.
  std::atomic<std::uint32_t> patient_writes_ = 0;

  std::mutex mutex_;
  std::unordered_map<NodeId, NodePtr> nodes_;
  std::unordered_map<tree::NodeId, CopyUp> copying_;
  NodeId next_spare_id_ = kSpareIdBase;
  FdCache fds_;
  std::size_t orphans_ = 0;
  LateGrowth late_growth_;
  FdCache::Fd root_fd_;
  FdCache::Fd work_fd_;
};

/// EINVAL for "", ".", "..", '/' and NUL; ENAMETOOLONG over 255 bytes.
Result<void> check_name(std::string_view name);

}  // namespace layerboot::overlay
