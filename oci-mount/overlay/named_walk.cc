#include "oci-mount/overlay/named_walk.h"

#include <unordered_map>
#include <utility>
#include <vector>

namespace layerboot::overlay {

namespace {

class NamedWalk {
 public:
  explicit NamedWalk(MemoryBudget& memory) : memory_(memory), memory_share_(memory) {}

  Result<void> add(Node& node) {
    Node* at = &node;
    for (; !at->is_root(); at = at->parent.get()) {
      LB_ASSIGN(Own* const own, own_of(*at));
      if (std::exchange(own->is_placed, true)) break;
      LB_ASSIGN(Own* const parent, own_of(*at->parent));
      parent->below.push_back(at);
    }
    if (at->is_root()) root_ = at;
    LB_ASSIGN(Own* const own, own_of(node));
    own->is_wanted = true;
    return {};
  }

  Result<void> over(int root_fd, const std::function<Result<void>(Node&, Place)>& visit) {
    if (root_ == nullptr) return {};
    LB_ASSIGN(here_, open_directory_at({root_fd, "."}));
    if (nodes_[root_].is_wanted) LB_TRY(visit(*root_, {here_.get(), "."}));
    std::vector<Node*> levels{root_};
    while (!levels.empty()) {
      auto& below = nodes_[levels.back()].below;
      if (below.empty()) {
        levels.pop_back();
        if (!levels.empty()) {
          LB_ASSIGN(here_, open_parent_of(here_.get()));
        }
        continue;
      }
      Node* const next = below.back();
      below.pop_back();
      const Place place{here_.get(), next->name.c_str()};
      const auto& own = nodes_[next];
      if (own.is_wanted) LB_TRY(visit(*next, place));
      if (own.below.empty()) continue;
      LB_ASSIGN(here_, open_directory_at(place));
      levels.push_back(next);
    }
    return {};
  }

 private:
  struct Own {
    bool is_wanted = false;
    bool is_placed = false;  // in its directory's list
    std::vector<Node*> below;
  };
  static constexpr std::size_t kOwnBytes = 128;

  /// Good for as long as the walk is: the table's elements stay where they are.
  Result<Own*> own_of(Node& node) {
    const auto known = nodes_.find(&node);
    if (known != nodes_.end()) return &known->second;
    if (!memory_.has_room(kOwnBytes)) return fail(ENOMEM);
    memory_share_.set(memory_share_.bytes() + kOwnBytes);
    return &nodes_[&node];
  }

  MemoryBudget& memory_;
  MemoryBudget::Share memory_share_;
  std::unordered_map<Node*, Own> nodes_;
  Node* root_ = nullptr;
  UniqueFd here_;
};

}  // namespace

Result<void> visit_named(std::span<const NodePtr> nodes, int root_fd, MemoryBudget& memory,
                         const std::function<Result<void>(Node&, Place)>& visit) {
  NamedWalk walk(memory);
  for (const auto& node : nodes) LB_TRY(walk.add(*node));
  return walk.over(root_fd, visit);
}

}  // namespace layerboot::overlay
