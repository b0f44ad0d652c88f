// CopyUp: giving an object of the image a body in the upper, at its first change.
//
// A file's data is written to a file in the work directory first, then that is named at one stroke: no half
// copy is ever seen, and what a crash leaves the next start removes. Several requests that need the same file
// wait for one copy. What leaves the data as it is copies none: it makes a metacopy, as overlayfs does with
// metacopy=on (fs/overlayfs/copy_up.c), which is as large as the image's file, all hole, and marked as one.
// At the first change of its data it is filled in place, so that all of its names stay names of one file.
//
// What a crash may leave of that: the data is there and synced before the file is cut to what is kept of it,
// and only then the mark goes. So a marked file that is not as large as the image's is whole, and its mark is
// old.
//
// Under the Overlay's lock, but for the Tasks, which take it by themselves.
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/task.h"
#include "oci-mount/overlay/directories.h"
#include "oci-mount/overlay/ledger.h"
#include "oci-mount/overlay/lower.h"
#include "oci-mount/overlay/lower_metadata.h"
#include "oci-mount/overlay/lower_paths.h"
#include "oci-mount/overlay/objects.h"
#include "oci-mount/overlay/overlay_lock.h"
#include "oci-mount/overlay/places.h"

namespace layerboot::overlay {

class CopyUp {
 public:
  static constexpr std::uint64_t kAllData = UINT64_MAX;
  static constexpr std::nullopt_t kNoData = std::nullopt;

  /// All outlive it. `mutex` is the Overlay's lock.
  CopyUp(const Lower& lower, LowerPaths& paths, Places& places, Ledger& ledger, NodeTable& nodes,
         Objects& objects, Directories& directories, OverlayLock& mutex)
      : lower_(lower),
        paths_(paths),
        metadata_(lower, places.keeping()),
        places_(places),
        ledger_(ledger),
        nodes_(nodes),
        objects_(objects),
        directories_(directories),
        mutex_(mutex) {}

  /// Without the lock. The Node of `id` in the upper, copied up if need be: with no more than `data_bytes` of
  /// a regular file's data, or without it (kNoData), where only the rest is to change. A file of a layer that
  /// may be another one the next time gets all of its data, and so does one with several names where any
  /// layer may. EIO for data that is lost, unless none is wanted.
  Task<Result<Pin>> copy_up(Reactor& reactor, NodeId id, std::optional<std::uint64_t> data_bytes);

  /// The Node of a directory, with a body in the upper, as all above it get one.
  Result<NodePtr> directory(const Ref& ref, Budget budget = Budget::kKeep);
  /// The same of a row.
  Result<NodePtr> directory_of(tree::NodeId row, Budget budget = Budget::kKeep);

  /// Before a file gets another place: a metacopy's data is found by its place, unless it says where. False
  /// where the host has no room for it to say so: it needs its data first (copy_up() with kAllData). EXDEV
  /// where that is lost.
  Result<bool> redirect_data(Node& node);

  /// A crash may have come between the names of a copy: those that still lead to the image's file get theirs
  /// now, where the host has room for them; others go on leading there. A copy of overlayfs's own, which has
  /// one name, is left alone. `is_shown`: whether the image's directory is still there for the client; it
  /// brings what the upper has of it into memory (LostNames::is_shown).
  template <typename IsShown>
  Result<void> finish(tree::NodeId row, IsShown is_shown);

 private:
  /// Copies of one file under way, and who waits for it.
  struct Waiter {
    Reactor& reactor;
    std::coroutine_handle<> handle;
  };
  class End;
  class Wait;
  enum class Data { kNone, kBelow };

  // directories and metadata (copy_up.cc)
  Result<NodePtr> copy_directory(const NodePtr& parent, const std::string& name, tree::NodeId row,
                                 Budget budget);
  Result<NodePtr> copy_removed(const NodePtr& node);
  Result<void> copy_metadata(Place place, tree::NodeId row);
  void keep_times(const NodePtr& directory, const Attr& before);
  Result<bool> still_named(tree::NodeId directory, std::string_view name, tree::NodeId row, NodePtr& in);
  struct Name {
    NodePtr directory;
    std::string name;
  };
  Result<std::vector<Name>> names_of(tree::NodeId row);
  struct Made {
    std::size_t count = 0;
    Result<void> end;
  };
  Result<void> make_name(const Name& name, Place copy, bool moves, const NodePtr& node);
  Made link_names(std::span<const Name> names, Place copy, const NodePtr& node);
  Made make_names_in(std::span<const Name> names, Place copy, bool moves, const NodePtr& node);
  Result<void> make_names(std::span<const Name> names, Place copy, const NodePtr& node);
  void take_back(const Name& name);
  Result<NodePtr> place_copy(tree::NodeId row, Place copy, const struct stat& st, Data data);
  void link_other_names(tree::NodeId row, const NodePtr& node);
  Result<NodePtr> copy_at_once(tree::NodeId row, Data data);
  Result<void> keep_lost(Node& node);
  Result<bool> finish_at(tree::NodeId row, tree::NodeId parent, std::string_view name);

  // data, without the lock (copy_data.cc)
  Result<void> read_upper_part(PartLock& lock, tree::NodeId row, std::vector<Pin>& read);
  Result<std::vector<Pin>> read_directories_of(tree::NodeId row);
  [[nodiscard]] bool has_target_data(tree::NodeId row) const;
  [[nodiscard]] bool needs_data(tree::NodeId row) const;
  [[nodiscard]] std::uint64_t data_size(tree::NodeId row) const;
  Task<Result<Pin>> copy_file(Reactor& reactor, tree::NodeId row, std::uint64_t data_bytes);
  Task<Result<void>> copy_data(Reactor& reactor, tree::NodeId row, int to_fd, std::uint64_t data_bytes);
  [[nodiscard]] std::uint64_t names_and_attributes(tree::NodeId row) const;
  static std::uint64_t worst_copy_bytes(const tree::NodeRecord& record, std::uint64_t data_bytes);
  Task<Result<Pin>> fill(Reactor& reactor, Pin pin, std::uint64_t data_bytes);
  // under it
  Result<NodePtr> name_copy(tree::NodeId row, Place copy);
  Result<void> give_up_data(Node& node);
  Result<FdCache::Fd> begin_filling(const NodePtr& node);
  Result<void> keep_data(Node& node, int fd, std::uint64_t data_bytes);
  Result<void> end_filling(Node& node, int fd, Result<void> filled, std::uint64_t data_bytes);

  const Lower& lower_;
  LowerPaths& paths_;
  LowerMetadata metadata_;
  Places& places_;
  Ledger& ledger_;
  NodeTable& nodes_;
  Objects& objects_;
  Directories& directories_;
  OverlayLock& mutex_;
  std::unordered_map<tree::NodeId, std::vector<Waiter>> under_way_;
};

template <typename IsShown>
Result<void> CopyUp::finish(tree::NodeId row, IsShown is_shown) {
  for (const auto& link : lower_.tree.links(row)) {
    LB_ASSIGN(const bool shown, is_shown(link.parent));
    if (!shown) continue;
    LB_ASSIGN(const bool found, finish_at(row, link.parent, lower_.tree.name(link)));
    if (found) return {};
  }
  return {};
}

}  // namespace layerboot::overlay
