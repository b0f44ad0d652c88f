// Directories: merged directories, their names and their listings.
//
// A listing's cookies never move: a name that the lower directory has is listed at its place there, whatever
// has the name now; the others follow in the order in which they appeared. So a client may remove, rename and
// create while it lists: names that appear after a listing began are not in it, so that it ends.
// Under the Overlay's lock.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/overlay/ledger.h"
#include "oci-mount/overlay/listing.h"
#include "oci-mount/overlay/lower.h"
#include "oci-mount/overlay/node_table.h"
#include "oci-mount/overlay/objects.h"
#include "oci-mount/overlay/overlay_lock.h"
#include "oci-mount/overlay/places.h"

namespace layerboot::overlay {

/// A name looked up in a directory.
struct Found {
  Child* child = nullptr;                    // what the upper says of it, if anything
  tree::NodeId lower_below = tree::kNoNode;  // what the lower directory has by that name, seen or hidden
  [[nodiscard]] bool in_upper() const { return child != nullptr && !child->whiteout; }
  [[nodiscard]] bool is_whiteout() const { return child != nullptr && child->whiteout; }
  [[nodiscard]] tree::NodeId visible_lower() const { return child == nullptr ? lower_below : tree::kNoNode; }
  [[nodiscard]] bool exists() const { return in_upper() || visible_lower() != tree::kNoNode; }
};

class Directories {
 public:
  /// All outlive it.
  Directories(const Lower& lower, Places& places, Ledger& ledger, NodeTable& nodes, Objects& objects,
              MemoryBudget& memory)
      : lower_(lower), places_(places), ledger_(ledger), nodes_(nodes), objects_(objects), memory_(memory) {}

  /// What the directory's part in the upper says; read from the host the first time, or ENOMEM. Valid
  /// until the directory leaves memory, and until Objects::ask_for_room(). A directory may be large: requests
  /// have it read without the lock first, by one of the next three.
  Result<Listing*> listing_of(const NodePtr& directory);
  /// Reads the directory without the lock, where it is not in memory. After an error it is not to be asked
  /// for by listing_of(), which would read it once more. What is no more has no names: no error.
  Result<void> read_beside_others(PartLock& lock, const NodePtr& directory);
  /// As NodeTable::find_directory(), when no other request has claimed it, and with its names in memory: for
  /// that, others get the lock.
  Result<Ref> find(PartLock& lock, NodeId id, PartLock::For what);
  /// For a request that is going to take the whole lock, which it does not have yet: reads the directory.
  Result<void> read_ahead(OverlayLock& mutex, NodeId id);
  /// The same of the directory that is `name` in another, if it is one of the upper; to be kept meanwhile.
  Result<std::optional<Objects::Pin>> read_ahead(OverlayLock& mutex, NodeId parent, std::string_view name);
  Result<Found> look(const Ref& directory, std::string_view name);
  Result<Found> look(const NodePtr& directory, std::string_view name) {
    return look(Ref{directory, directory->lower}, name);
  }
  /// To the client: no whiteout counts, and no name of the lower directory that one hides.
  Result<bool> is_empty(const NodePtr& directory);

  /// REQUIRES: the listing is loaded, and the host has the name so already.
  void put(Node& directory, std::string_view name, Child child);
  void erase(Node& directory, std::string_view name);
  /// A file has moved from one name to another of one directory: it stays in its place in listings.
  void rename(Node& directory, std::string_view from, std::string_view to, Child child);

  /// Up to `most` names of the directory that are whiteouts.
  Result<std::vector<std::string>> some_whiteouts(const NodePtr& directory, std::size_t most);

  /// Names that are looked at in one go while a client lists: each may take a few calls of the host.
  static constexpr std::size_t kNamesAtOnce = 32;
  /// As FileSystem::readdir(), but for no more than kNamesAtOnce names. The cookie to go on from, once others
  /// have had the lock; nothing where there are no more names, or `add` takes none.
  Result<std::optional<std::uint64_t>> list(const Ref& directory, std::uint64_t cookie, bool with_nodes,
                                            const AddEntry& add);

 private:
  Result<std::unique_ptr<Listing>> read_names(int fd, tree::NodeId lower);
  void keep_names(const NodePtr& directory, std::unique_ptr<Listing> names);
  [[nodiscard]] bool has_name(tree::NodeId lower, std::string_view name) const;
  [[nodiscard]] static bool hides(Node& directory, std::string_view name);
  [[nodiscard]] bool has_lower(const Node& directory, std::string_view name) const;
  [[nodiscard]] std::uint64_t parent_ino(const Ref& directory) const;
  bool give(const NodePtr& directory, const std::string& name, Child& child, std::uint64_t next_cookie,
            bool with_nodes, const AddEntry& add);
  Result<bool> give_row(tree::NodeId row, const Dirent& dirent, bool with_nodes, const AddEntry& add);
  /// How far a listing has come.
  struct Progress {
    std::uint64_t cookie = 0;
    std::size_t names_left = kNamesAtOnce;
    bool is_full = false;  // `add` has taken no more
    [[nodiscard]] bool ends() const { return is_full || names_left == 0; }
  };
  Result<void> list_lower(const Ref& directory, bool with_nodes, const AddEntry& add, Progress& progress);
  /// False where there are no more names.
  Result<bool> list_upper_only(const NodePtr& directory, bool with_nodes, const AddEntry& add,
                               Progress& progress);

  const Lower& lower_;
  Places& places_;
  Ledger& ledger_;
  NodeTable& nodes_;
  Objects& objects_;
  MemoryBudget& memory_;
};

}  // namespace layerboot::overlay
