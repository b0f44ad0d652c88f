// Listing: what is in one upper directory, in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/overlay/list_memory.h"
#include "oci-mount/overlay/types.h"

namespace layerboot::overlay {

struct Node;
using NodePtr = std::shared_ptr<Node>;

/// A name that the upper directory decides: an object of its own, or a whiteout.
struct Child {
  bool whiteout = false;
  bool has_lower = false;  // the lower directory has the name; set by Listing
  unsigned char type = 0;  // DT_*; DT_UNKNOWN until looked at, on hosts that do not say
  std::uint64_t host_ino = 0;
  std::uint64_t sequence = 0;  // place in a listing, for names that the lower directory does not have
  NodeId id = 0;  // of its Node when it was last looked at, which may be in memory no more; 0: never
};

[[nodiscard]] Child child_of(const NodePtr& node);
[[nodiscard]] Child whiteout_child();

/// Read once, then kept in step, since nobody else writes there. Not thread-safe: under the Overlay's lock.
class Listing {
 public:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using Children = std::unordered_map<std::string, Child, Hash, std::equal_to<>>;

  /// What a name takes beside itself where it is long: its places in both tables, the allocator's part.
  static constexpr std::size_t kNameBytes = 136;
  /// What is paid for a name.
  [[nodiscard]] static std::size_t bytes_of(const std::string& name) { return kNameBytes + heap_bytes(name); }

  /// Names are paid for out of `memory`, which outlives the listing.
  explicit Listing(MemoryBudget& memory) : memory_share_(memory, sizeof(Listing)) {}

  /// Null where the upper says nothing of the name.
  [[nodiscard]] Child* find(std::string_view name);
  /// `has_lower`: the lower directory has that name, which is listed at its place there.
  void put(std::string_view name, Child child, bool has_lower);
  void erase(std::string_view name);
  /// There is no lower directory any more: the directory has become opaque.
  void forget_lower();
  /// As erase(from) and put(to), but the object stays in its place in listings where it can.
  void rename(std::string_view from, std::string_view to, Child child, bool to_has_lower);

  /// A client begins to list: from now on it is told names that are here now, and no later ones. Without a
  /// handle nobody knows which listing a request belongs to, so a client that has begun before may be told
  /// those as well; it still ends, as it does not begin again by itself.
  void begin_listing() { listed_below_ = next_sequence_; }
  [[nodiscard]] std::uint64_t listed_below() const { return listed_below_; }

  [[nodiscard]] const Children& children() const { return children_; }
  [[nodiscard]] std::size_t whiteouts() const { return whiteouts_; }
  /// Whiteouts of names that the lower directory has.
  [[nodiscard]] std::size_t hidden() const { return hidden_; }
  /// Of the names that the lower directory does not have, the first one that appeared as number `sequence` or
  /// later; null where there is none. Good until the listing changes.
  [[nodiscard]] const std::string* next_upper_only(std::uint64_t& sequence) const;

 private:
  void pay_for(const std::string& name) { memory_share_.set(memory_share_.bytes() + bytes_of(name)); }
  void erase(Children::iterator known);
  void count(const Child& child);
  void uncount(const Child& child);

  MemoryBudget::Share memory_share_;
  Children children_;
  struct Appeared {
    std::uint64_t sequence;
    const std::string* name;  // a key of children_; null: gone
  };
  using Order = std::vector<Appeared>;
  [[nodiscard]] Order::const_iterator at_or_after(std::uint64_t sequence) const;
  /// Null where the name is none of them.
  [[nodiscard]] Appeared* appeared_as(std::uint64_t sequence, std::string_view name);
  void drop(Appeared& entry);

  Order upper_only_;      // by sequence
  std::size_t gone_ = 0;  // of upper_only_
  std::size_t whiteouts_ = 0;
  std::size_t hidden_ = 0;
  std::uint64_t next_sequence_ = 0;
  std::uint64_t listed_below_ = 0;
};

}  // namespace layerboot::overlay
