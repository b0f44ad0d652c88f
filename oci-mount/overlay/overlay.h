// Overlay: the writable union of an image's tree and an upper directory.
//
// Follows Linux's overlayfs in what it leaves on the host (FORMAT.md), so that a stopped VM's disk can be
// mounted by it. The lower tree is immutable and the upper has no other writer, so what is known once stays
// true: upper directories are read once and then kept in memory, and most lookups cost no system call.
//
// A lower object keeps its row in the tree as its number, for good, also when it was copied up or renamed; an
// object born in the upper is numbered by its inode on the host. "Touched" is a lower object that the overlay
// has a Node for; all others are answered from the tree without a lock.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/worker_pool.h"
#include "oci-mount/overlay/file_system.h"
#include "oci-mount/overlay/new_objects.h"
#include "oci-mount/overlay/parts.h"
#include "oci-mount/overlay/removal.h"
#include "oci-mount/overlay/renaming.h"

namespace layerboot::overlay {

/// Thread-safe. The operations own nothing: all state is in Parts, under its lock rule.
class Overlay final : public FileSystem {
 public:
  struct Options {
    std::filesystem::path directory;
    std::string image_identity;
    Quota::Limits limits;
    Keeping keeping = Keeping::kNative;  // of a new upper; see Upper::open()
    std::string lower_key;               // names exactly the tree of `lower`, without a NUL; may be empty
  };

  /// Opens the upper (see Upper::open), gives a new one the image's "/", and counts what it takes, or takes
  /// the word of a session that ended by stop(). What `lower` refers to, `workers`, and `memory`, which pays
  /// for what is known of objects, outlive the Overlay.
  static Result<std::unique_ptr<Overlay>> open(Lower lower, const Options& options, WorkerPool& workers,
                                               MemoryBudget& memory);
  ~Overlay() override;

  /// Thread-safe; goes with this object.
  [[nodiscard]] Quota& quota() { return parts_.ledger.quota(); }
  /// Of the upper that was opened.
  [[nodiscard]] Keeping keeping() const { return parts_.places.upper().keeping(); }

  void reset() override;
  Result<void> stop() override;

  // ---- nodes (overlay.cc)
  Result<Entry> lookup(NodeId parent, std::string_view name) override;
  void forget(NodeId id, std::uint64_t count) override;
  Result<Attr> getattr(NodeId id) override;
  Result<std::string> readlink(NodeId id) override;
  Result<void> readdir(NodeId directory, std::uint64_t cookie, bool with_nodes, const AddEntry& add) override;
  Result<StatFs> statfs() override;

  // ---- names (overlay_names.cc)
  Result<Entry> mknod(NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t rdev,
                      Caller caller) override;
  Result<Entry> mkdir(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller) override;
  Result<Entry> symlink(NodeId parent, std::string_view name, std::string_view target,
                        Caller caller) override;
  Result<Entry> create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                       Caller caller) override;
  Result<Entry> tmpfile(NodeId parent, std::uint32_t mode, Caller caller) override;
  Result<void> unlink(NodeId parent, std::string_view name) override;
  Result<void> rmdir(NodeId parent, std::string_view name) override;
  Task<Result<Entry>> link(Reactor& reactor, NodeId id, NodeId new_parent,
                           std::string_view new_name) override;
  Task<Result<void>> rename(Reactor& reactor, NodeId parent, std::string_view name, NodeId new_parent,
                            std::string_view new_name, std::uint32_t flags) override;

  // ---- data (overlay_data.cc, overlay_allocation.cc)
  Result<std::int64_t> try_read(NodeId id, std::uint64_t offset, std::span<const iovec> into) override;
  Task<Result<std::size_t>> read(Reactor& reactor, NodeId id, std::uint64_t offset,
                                 std::span<const iovec> into) override;
  Result<std::int64_t> try_write(NodeId id, std::uint64_t offset, std::span<const iovec> from,
                                 Writer writer) override;
  Task<Result<std::size_t>> write(Reactor& reactor, NodeId id, std::uint64_t offset,
                                  std::span<const iovec> from, Writer writer) override;
  Task<Result<void>> fsync(Reactor& reactor, NodeId id, bool data_only) override;
  Task<Result<void>> fsyncdir(Reactor& reactor, NodeId directory, bool data_only) override {
    return fsync(reactor, directory, data_only);
  }
  Task<Result<void>> syncfs(Reactor& reactor) override;
  Task<Result<void>> fallocate(Reactor& reactor, NodeId id, std::uint32_t mode, std::uint64_t offset,
                               std::uint64_t length_bytes) override;
  Result<std::uint64_t> lseek(NodeId id, std::uint64_t offset, std::uint32_t whence) override;
  Task<Result<std::size_t>> copy_file_range(Reactor& reactor, NodeId from, std::uint64_t from_offset,
                                            NodeId to, std::uint64_t to_offset,
                                            std::uint64_t length_bytes) override;

  // ---- attributes (overlay_attributes.cc)
  Task<Result<Attr>> setattr(Reactor& reactor, NodeId id, AttrChange change) override;
  Result<std::string> getxattr(NodeId id, std::string_view name) override;
  Result<std::string> listxattr(NodeId id) override;
  Task<Result<void>> setxattr(Reactor& reactor, NodeId id, std::string_view name, std::string_view value,
                              std::uint32_t flags) override;
  Task<Result<void>> removexattr(Reactor& reactor, NodeId id, std::string_view name) override;

 private:
  Overlay(Lower lower, Places places, Quota::Limits limits, Quota::Usage used, std::string lower_key,
          WorkerPool& workers, MemoryBudget& memory);

  Result<Entry> make(NodeId parent, std::string_view name, NewObject object);
  Result<void> remove(NodeId parent, std::string_view name, bool is_directory);
  Result<std::optional<std::uint64_t>> list_some(NodeId id, std::uint64_t cookie, bool with_nodes,
                                                 const AddEntry& add);

  // Under the lock:
  /// What a session knows that the next one has not to look for.
  struct Known {
    Survey survey;
    std::vector<LostNames::Lost> lost_names;
  };
  Result<void> start_session(const Survey& survey);
  Result<void> look_for_lost_names();
  Result<bool> stands_in_place(tree::NodeId row);
  Result<bool> part_from_others();
  Result<void> start_over_changed_lower(const Survey& survey);
  Result<void> load_moved_directories(const std::vector<WayToMoved>& ways);
  Result<Survey> surveyed();
  [[nodiscard]] bool is_moved(const Node& node) const;
  Result<Known> known_by_session();
  Result<std::optional<CleanStop>> left_by_session();
  Result<void> leave_kept();
  Result<void> leave(const CleanStop& stop);
  [[nodiscard]] bool is_at_work() const;
  Result<void> start_counted_session();
  Result<void> check_link(NodeId id, NodeId new_parent, std::string_view new_name);
  Result<std::optional<Entry>> link_now(const NodePtr& node, NodeId new_parent, std::string_view new_name);
  Task<Result<void>> rename_now(Reactor& reactor, NodeId parent, std::string_view name, NodeId new_parent,
                                std::string_view new_name, std::uint32_t flags);
  Result<void> hold_file_to_copy_up(NodeId parent, std::string_view name, NodeId& held);

  /// What must be known and reserved before bytes are written to a file of the upper.
  struct WriteGrant {
    FdCache::Fd fd;  // to be let go of without the lock
    Quota::Reservation reserved;
    std::uint64_t growth_bytes = 0;  // reserved
    std::uint64_t size_bytes = 0;    // of the file before
    bool leaves_hole = false;
    bool copies = false;            // what is written over stays taken as well: the writer is alone with it
    std::uint64_t offset = 0;       // of the write
    bool relies_on_blocks = false;  // Objects::end_relying() is to follow
    bool is_late = false;           // FileState::late_writes counts it
    /// Nothing is granted: the host is to be asked, without the lock, by grant_after_asking().
    /// Or, with kTurn, others are to end first (FileTurns).
    enum class Question { kNone, kHoles, kBlocks, kTurn } question = Question::kNone;
    std::uint32_t holes_made = 0;  // FileState::holes_made before
  };
  /// What the host has been asked.
  struct Asked {
    bool holes = false;       // FileState::dense has the answer, unless it is old
    bool has_blocks = false;  // Objects::rely_on_blocks() was true
  };
  Result<WriteGrant> prepare_write(const NodePtr& node, std::uint64_t offset, std::uint64_t length,
                                   Writer writer, Asked asked);
  Result<WriteGrant> grant_after_asking(const NodePtr& node, WriteGrant grant, std::uint64_t offset,
                                        std::uint64_t length, Writer writer);
  Result<WriteGrant> try_to_grant(const NodePtr& node, std::uint64_t offset, std::uint64_t length,
                                  Writer writer);
  void book_growth(Node& node, const WriteGrant& grant, std::uint64_t put_bytes);
  [[nodiscard]] bool takes_overwrites(Node& file, int fd) const;

  /// The same before blocks are allocated to a file, or a hole is made in it.
  struct AllocationGrant {
    FdCache::Fd fd;
    FileTurns::Alone alone;  // where it may leave behind what the host keeps
    Result<Quota::Reservation> reserved;
    std::uint64_t replaced_bytes = 0;  // that may be given other blocks
    bool waits = false;                // nothing is granted: others are to end first
  };
  struct Allocation;
  Result<void> prepare_allocation(const NodePtr& node, const Allocation& wanted, AllocationGrant& grant);
  Task<Result<void>> grant_allocation(Reactor& reactor, NodePtr node, const Allocation& wanted,
                                      AllocationGrant& grant);
  void end_allocation(Node& node, AllocationGrant& grant);
  void book_allocation(Node& node, int fd, std::uint64_t most_bytes, std::uint64_t replaced_bytes);
  void settle_write(Node& node, WriteGrant& grant, std::uint64_t put_bytes);

  void recount_attributes(Node& node, Place place);
  Result<Quota::Reservation> reserve_for_attribute(Place place, const std::string& host_name,
                                                   std::size_t value_bytes);
  static NodePtr first_not_durable(NodePtr node);
  Task<Result<void>> sync_names(Reactor& reactor, int directory_fd);
  Task<Result<void>> error_told_to_worker(Reactor& reactor, Node& file);
  Task<Result<void>> sync_way(Reactor& reactor, NodePtr node, std::uint32_t changes);

  enum class Owner { kStays, kSet };
  Task<Result<void>> truncate(Reactor& reactor, const NodePtr& node, std::uint64_t size_bytes);
  struct Cut;
  Result<Cut> prepare_cut(const NodePtr& node, std::uint64_t size_bytes);
  void settle_cut(Node& node, const Cut& cut, std::uint64_t size_bytes, bool is_done, bool is_on_disk);
  Result<Attr> change_attributes(const NodePtr& node, const AttrChange& change);
  Result<void> apply(const NodePtr& node, const AttrChange& change);
  Result<void> apply_nature(const NodePtr& node, Place place, const AttrChange& change);
  Result<void> set_nature(Node& node, Place place, const Nature& nature, Owner owner);
  Result<void> follow_mode_in_acl(Place place, std::uint32_t mode);
  Result<void> drop_capability(Node& node, Place place);
  Result<bool> begin_late_write(Node& node, int fd);
  void end_late_write(Node& node, int fd);
  Result<void> set_acl(const NodePtr& node, Place place, std::string_view name, std::string_view value,
                       bool kill_sgid);

  Parts parts_;
  NewObjects new_objects_{parts_};
  Removal removal_{parts_};
  Renaming renaming_{parts_, new_objects_, removal_};
  const std::string lower_key_;

  // Writes still to go through the ring because one that did not was slow.
  std::atomic<std::uint32_t> patient_writes_ = 0;
};

/// EINVAL for "", ".", "..", '/' and NUL; ENAMETOOLONG over 255 bytes.
Result<void> check_name(std::string_view name);

}  // namespace layerboot::overlay
