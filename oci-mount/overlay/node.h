// Node: what the overlay knows of an object that is in the upper directory, or was removed from the lower
// tree.
#pragma once

#include <time.h>

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/late_growth.h"
#include "oci-mount/overlay/listing.h"
#include "oci-mount/overlay/quota.h"
#include "oci-mount/overlay/recorded_stat.h"
#include "oci-mount/overlay/types.h"
#include "oci-mount/tree/limits.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::overlay {

/// Objects born in the upper are numbered from here, by their inode number on the host: so the number
/// survives renames and restarts, and never meets a row of the tree.
inline constexpr NodeId kUpperIdBase = NodeId{1} << 40;
/// Where the host has given the inode number of a removed directory to a new object while the client still
/// holds the old one, the new one is numbered from here for the session.
inline constexpr NodeId kSpareIdBase = NodeId{1} << 62;

/// Inode numbers of objects born in the upper begin here, above every row of a tree. Apart from node ids, so
/// that they stay below 2^32 on hosts whose own do: a 32-bit program gets EOVERFLOW for larger ones, and an
/// overlayfs above this file system wants the upper bits for itself (xino).
inline constexpr std::uint64_t kUpperInoBase = tree::kMaxNodes;

/// The inode number of an object: its row, where it came from one, for good; else its own on the host.
[[nodiscard]] constexpr std::uint64_t ino_of(NodeId id, std::uint64_t host_ino) {
  return id <= tree::kMaxNodes ? id : kUpperInoBase + host_ino;
}

/// Where an object is on the host.
enum class Standing : unsigned char {
  kNamed,      // in the upper: `name` in `parent`, or the root
  kInWork,     // `name` in the work directory: its last name is gone, but the client still holds it
  kOrphan,     // nowhere: the same, or a directory that was removed, kept by its descriptor alone
  kLowerOnly,  // nowhere: an object of the image that has lost names, known for its link count; a directory
               // of it that was removed
  kGone,       // nowhere: removed and freed, or no longer kept in memory
};

/// What keeps a Node in memory.
struct Holders {
  std::uint64_t references = 0;       // the client's, of objects born in the upper; others are in NodeTable
  std::uint32_t pins = 0;             // requests at work on it
  bool outlives_session = false;      // by one of these
  std::uint32_t loaded_children = 0;  // Nodes that have this one as parent
};

/// What the guest is to see of it, as last read from the host.
struct KnownAttr {
  Attr attr;
  bool valid = false;
  bool times_stale = false;              // the times, and of a directory all but mode and owner, are old
  std::optional<RecordedStat> recorded;  // on a recorded upper: what the guest sees instead of the host's
};

/// What the budget has booked for it (ledger.h).
struct Charge {
  std::uint64_t bytes = 0;
  std::uint64_t attribute_bytes = 0;  // of `bytes`, for attributes that st_blocks does not tell of
  std::uint64_t allocated_bytes = 0;  // st_blocks, as last seen
  std::uint64_t kept_bytes = 0;       // cut off the file, but not back (Tariff::keeps_what_is_cut)
  /// What came behind here since the file was cut here lies in extents of its own, and goes as a whole with
  /// the next cut.
  std::uint64_t kept_from = kNeverCut;
  bool is_ahead = false;               // there may be blocks beyond its end (Tariff::allocates_ahead)
  bool is_sparse = false;              // it may have holes, so that its blocks do not tell what is where
  std::uint64_t gives_back_bytes = 0;  // what the host may give back of what is beyond its end
  std::uint64_t kept_ahead_bytes = 0;  // what it has kept when it was asked
  // Of a sparse file: what the host has said that is beyond its end, until its blocks are others.
  std::optional<std::uint64_t> seen_ahead_bytes;
  bool grows_late = false;       // written to: the host may allocate more at write-back
  bool is_listed = false;        // in LateFiles, at `listed_at`
  std::uint64_t late_bytes = 0;  // what LateFiles counts for it, listed or not
  std::list<NodePtr>::iterator listed_at;
  std::size_t unbooked_name_bytes = 0;  // of a directory: names put into it since it was booked
};

/// Whether the way to the object is durable: its name, after its copy-up, or that it is a metacopy no more. A
/// client's fdatasync(2) of the object does not carry that along by itself (Overlay::sync_way).
struct WayThere {
  std::uint32_t changes = 0;
  std::uint32_t synced = 0;  // of these
  void change() { ++changes; }
  [[nodiscard]] bool is_durable() const { return changes == synced; }
};

/// What a metacopy's getting its data must not change, though the host changes it at every write.
struct Filling {
  struct timespec mtime;
  std::optional<std::string> capability;
};

/// What the client's late pages must not take away, though the host does so at every write.
struct LateWrites {
  std::uint32_t under_way = 0;
  std::optional<std::string> capability;  // while any is
};

/// Requests at work without the lock that reserved nothing, since the file has the blocks that they write to;
/// and those that free blocks, or move them. What is freed under the former is not to be had by others until
/// they have ended: they may allocate it again.
struct BlocksInUse {
  std::uint32_t relying = 0;
  std::uint32_t freeing = 0;
  std::uint64_t held_bytes = 0;
  Quota::Reservation held;
};

/// What only regular files have.
struct FileState {
  bool data_below = false;       // a metacopy: its data is still that of Node::lower
  bool data_lost = false;        // a metacopy that leads to no file: see redirects.h
  bool no_capability = false;    // known to have no security.capability
  std::optional<bool> dense;     // whether it has no hole; asked for at need, without the lock
  std::optional<bool> in_place;  // whether an overwrite takes nothing; asked for at need
  // Not in_place: where the block begins that was written last, by itself; and whether twice in a row.
  std::uint64_t copied_block = UINT64_MAX;
  bool copied_twice = false;
  bool is_written = false;       // known to have no extent that is allocated, but not written
  std::uint32_t holes_made = 0;  // changes that `dense` and `is_written` may be older than
  BlocksInUse blocks;
  std::uint32_t changing = 0;        // requests that change its data without the lock
  bool is_taken = false;             // by one that is or will be alone with it (FileTurns)
  std::uint64_t may_keep_bytes = 0;  // what the host may come to keep by that one, once it is at work
  bool is_kept_whole = false;        // that is charged, as nothing tells how much it is
  bool keeps_ahead = false;          // what is beyond its end is not to be given back
  WayThere own_name;               // made first, and named after: its next fdatasync(2) is to be an fsync(2)
  bool is_written_out = false;     // a worker has the host write it, and is told the errors of that
  int write_error = 0;             // an errno of write-back that the client's fsync is still to be told
  std::optional<Filling> filling;  // while a metacopy gets its data
  LateWrites late_writes;

  /// It may have holes, or unwritten extents, that it had not.
  void forget_density() {
    dense.reset();
    is_written = false;
    ++holes_made;
  }
};

/// What only directories have.
struct DirectoryState {
  std::unique_ptr<Listing> listing;  // once read
  std::uint32_t times_read = 0;      // into `listing`: names change on the host only while that is there
  std::optional<std::string> default_acl;  // once asked for; "" for none
  bool leads_nowhere =
      false;             // its redirect is to what the image does not have now, but may have another time
  bool claimed = false;  // its names are a request's at work without the lock: OverlayLock
};

/// All fields are under the Overlay's lock.
struct Node : std::enable_shared_from_this<Node> {
  /// Paid for out of `memory`, which outlives it.
  static NodePtr make(MemoryBudget& memory) { return std::make_shared<Node>(memory); }
  explicit Node(MemoryBudget& memory) : memory_share(memory) {}

  NodeId id = 0;
  tree::NodeId lower = tree::kNoNode;  // a directory: what it merges with; else: what it was copied from
  std::uint32_t type = 0;              // S_IFMT bits
  std::uint32_t lost_names = 0;        // of an object of the image
  std::uint64_t host_ino = 0;
  Standing standing = Standing::kNamed;
  std::shared_ptr<const UniqueFd> orphan;  // kOrphan: what keeps it alive for the client
  NodePtr parent;
  std::string name;
  Holders holders;
  KnownAttr known;
  Charge charge;
  WayThere way;
  FileState file;
  DirectoryState directory;
  MemoryBudget::Share memory_share;  // NodeTable sets it

  [[nodiscard]] bool is_directory() const { return (type & kTypeBits) == S_IFDIR; }
  [[nodiscard]] bool is_regular() const { return (type & kTypeBits) == S_IFREG; }
  [[nodiscard]] bool is_root() const { return id == kRootId; }
  /// A directory that the client has removed, held or not.
  [[nodiscard]] bool is_removed() const { return is_directory() && standing != Standing::kNamed; }
  [[nodiscard]] bool is_gone() const { return standing == Standing::kGone; }
  [[nodiscard]] bool in_work() const { return standing == Standing::kInWork; }
  [[nodiscard]] bool is_orphan() const { return standing == Standing::kOrphan; }
  /// It stands on the host.
  [[nodiscard]] bool has_body() const {
    return standing != Standing::kLowerOnly && standing != Standing::kGone;
  }
  /// It is reached by this name of this directory, which is one of its names on the host.
  [[nodiscard]] bool is_reached_as(const NodePtr& in, std::string_view as) const {
    return standing == Standing::kNamed && parent == in && name == as;
  }
};

}  // namespace layerboot::overlay
