// Merge: applies layers to one another, bottom up. Follows the image-spec's layer.md ("Applying
// Changesets"); where runtimes disagree, the table in FORMAT.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/tree/layer_entries.h"
#include "oci-mount/tree/limits.h"

namespace layerboot::tree {

/// A node of the merged tree: which entry of which layer describes it. It may have several names.
struct MergedNode {
  using Index = std::uint32_t;
  using Children = std::map<std::string_view, Index>;
  /// No entry describes it: a directory that a path takes for granted, 0755, owned by root, mtime 0.
  static constexpr std::uint32_t kImplicit = UINT32_MAX;

  std::uint32_t layer = 0;
  std::uint32_t entry = kImplicit;
  std::unique_ptr<Children> children;  // of directories only
};

/// Names are views into the layers, which outlive this. What was replaced or hidden stays in nodes(), but
/// can't be reached from the root.
class Merge {
 public:
  static constexpr MergedNode::Index kRootIndex = 0;

  /// `max_nodes`: what was replaced or hidden counts, too.
  explicit Merge(std::uint32_t max_nodes = kMaxNodes);

  /// Puts the next layer on top of those added before. `source` must live as long as this. After an error
  /// the merge is of no more use.
  Result<void> add(const LayerEntries& source);

  [[nodiscard]] std::span<const MergedNode> nodes() const { return nodes_; }

 private:
  using Index = MergedNode::Index;
  enum class LinkState : std::uint8_t { kWaiting, kInProgress };
  struct WaitingLink {
    std::string_view target;
    /// Of a link to a lower layer: what stands there below this one, marks not counted.
    std::optional<Index> below;
    LinkState state = LinkState::kWaiting;
  };

  /// What has to be seen of a layer before any of it is applied.
  Result<void> look_at(const LayerEntries& source);
  Result<void> hide_lower(const layer::EntryView& mark);
  Result<void> make_mark_directory(const layer::EntryView& mark);
  Result<void> add_entry(const layer::EntryView& entry, std::uint32_t entry_index);
  Result<void> resolve_links();
  Result<void> resolve_link_chain(std::string_view path);

  Result<Index> make_node(std::uint32_t entry_index, bool directory);
  Result<Index> ensure_directory(std::string_view path);
  [[nodiscard]] std::optional<Index> find(std::string_view path) const;
  /// The same through symlinks, but for the last part: as a hard link's target is found. When only that is
  /// not there, `missing` gets the path without symlinks.
  std::optional<Index> find_through_symlinks(std::string_view path, std::string& missing) const;
  void detach(std::string_view path);
  std::unexpected<Error> error_at(int code, std::string_view path, std::string_view why) const;

  const std::uint32_t max_nodes_;
  std::vector<MergedNode> nodes_;
  std::vector<const LayerEntries*> layers_;
  std::uint32_t layer_count_ = 0;

  // While a layer is being added:
  std::string_view layer_name_;
  std::vector<std::uint32_t> marks_;
  std::set<std::string_view> whiteouts_;
  std::map<std::string_view, WaitingLink> waiting_links_;
  std::set<std::string_view> left_out_;
  std::pair<std::string_view, Index> last_directory_{"",
                                                     kRootIndex};  // entries come in runs of one directory
};

}  // namespace layerboot::tree
