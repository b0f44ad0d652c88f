// Node: what the overlay knows of an object that is in the upper directory, or was removed from the lower
// tree.
#pragma once

#include <time.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/recorded_stat.h"
#include "oci-mount/overlay/types.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::overlay {

struct Node;
using NodePtr = std::shared_ptr<Node>;

/// Objects born in the upper are numbered from here, by their inode number on the host: so the number
/// survives renames and restarts, and never meets a row of the tree.
inline constexpr NodeId kUpperIdBase = NodeId{1} << 40;
/// Where the host has given the inode number of a removed directory to a new object while the client still
/// holds the old one, the new one is numbered from here for the session.
inline constexpr NodeId kSpareIdBase = NodeId{1} << 62;
/// Listing cookies of names that the lower directory does not have.
inline constexpr std::uint64_t kUpperCookieBase = std::uint64_t{1} << 40;

/// A name that the upper directory decides: an object of its own, or a whiteout.
struct Child {
  bool whiteout = false;
  unsigned char type = 0;  // DT_*; DT_UNKNOWN until looked at, on hosts that do not say
  std::uint64_t host_ino = 0;
  std::uint64_t sequence = 0;  // place in a listing, for names that the lower directory does not have
  std::weak_ptr<Node> node;    // once looked at
};

/// What is in one upper directory, in memory: read once, then kept in step, since nobody else writes there.
struct Listing {
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using Children = std::unordered_map<std::string, Child, Hash, std::equal_to<>>;

  Children children;
  std::map<std::uint64_t, std::string_view> upper_only;  // by sequence; views of the keys above
  std::uint64_t next_sequence = 0;
};

/// What a metacopy's getting its data must not change, though the host changes it at every write.
struct Filling {
  struct timespec mtime;
  std::optional<std::string> capability;
};

/// All fields are under the Overlay's lock. Reached in the upper as `name` in `parent`; with no parent it is
/// an orphan, or lies in the work directory (its last name is gone, but the client still holds it), or is the
/// root.
struct Node : std::enable_shared_from_this<Node> {
  NodeId id = 0;
  tree::NodeId lower = tree::kNoNode;  // a directory: what it merges with; else: what it was copied from
  std::uint32_t type = 0;              // S_IFMT bits
  bool in_upper = true;                // false: a lower object that lost names, known for its link count
  bool data_below = false;             // a regular file that is a metacopy: its data is still `lower`'s
  bool removed = false;                // a directory that is gone, or an object freed: nothing on the host
  bool never_evict = false;            // numbered by the tree: kept for the session
  NodePtr parent;
  std::string name;
  std::uint64_t host_ino = 0;
  std::uint64_t references = 0;          // the client's; of objects born in the upper
  std::optional<bool> dense;             // whether a file has no hole; asked for at need
  std::uint32_t pins = 0;                // requests at work on it
  std::uint32_t loaded_children = 0;     // Nodes that have this one as parent
  std::uint32_t lost_names = 0;          // of a lower object
  std::optional<RecordedStat> recorded;  // on a recorded upper: what the guest sees instead of the host's
  bool no_capability = false;            // known to have no recorded security.capability
  /// Of a directory, once asked for: its default ACL, or "".
  std::optional<std::string> default_acl;
  Attr attr;
  bool attr_valid = false;
  std::optional<Filling> filling;   // while a metacopy gets its data
  bool times_stale = false;         // of `attr` the times, and of a directory all but mode and owner, are old
  std::uint64_t charged_bytes = 0;  // what the quota has booked for it
  bool grows_late = false;          // written to: the host may allocate more at write-back
  std::size_t unbooked_name_bytes = 0;  // of a directory: names put into it since it was booked
  std::unique_ptr<Listing> listing;
  std::shared_ptr<const UniqueFd> orphan;  // a file without a name: all that keeps it alive for the client

  [[nodiscard]] bool is_directory() const { return (type & 0170000U) == 0040000U; }
  [[nodiscard]] bool is_regular() const { return (type & 0170000U) == 0100000U; }
  [[nodiscard]] bool is_root() const { return id == kRootId; }
  [[nodiscard]] bool in_work() const { return in_upper && !removed && !parent && !is_root() && !orphan; }
};

[[nodiscard]] inline Child child_of(const NodePtr& node) {
  Child child;
  child.type = static_cast<unsigned char>(node->type >> 12);  // IFTODT() of <dirent.h>
  child.host_ino = node->host_ino;
  child.node = node;
  return child;
}

[[nodiscard]] inline Child whiteout_child() {
  Child child;
  child.whiteout = true;
  return child;
}

}  // namespace layerboot::overlay
