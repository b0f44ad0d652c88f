// RowStates: for each row of the tree, how many references the client holds and whether a Node knows more.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "oci-mount/tree/tree.h"

namespace layerboot::overlay {

/// Four bytes a row, of which the host gives only pages that were written to. All methods are lock-free and
/// thread-safe; touch() and clear() are called under the Overlay's lock.
class RowStates {
 public:
  static constexpr std::size_t kRowBytes = sizeof(std::atomic<std::uint32_t>);

  /// `count`: rows are below it.
  explicit RowStates(std::size_t count);
  RowStates(const RowStates&) = delete;
  RowStates& operator=(const RowStates&) = delete;
  ~RowStates();

  [[nodiscard]] bool is_touched(tree::NodeId row) const {
    return (states_[row].load(std::memory_order_acquire) & kTouched) != 0;
  }
  [[nodiscard]] bool is_held_untouched(tree::NodeId row) const {
    const std::uint32_t state = states_[row].load(std::memory_order_acquire);
    return state != 0 && (state & kTouched) == 0;
  }
  [[nodiscard]] std::uint32_t references(tree::NodeId row) const {
    return states_[row].load(std::memory_order_relaxed) & kReferences;
  }

  /// From now on a Node answers for the row.
  void touch(tree::NodeId row) { states_[row].fetch_or(kTouched, std::memory_order_release); }
  /// Saturates: a client that never forgets keeps the object for the session.
  void add_reference(tree::NodeId row);
  /// True when the row is touched and this took its last reference.
  bool take_references(tree::NodeId row, std::uint64_t count);
  /// No references, and nothing touched. Costs no more than the pages in use.
  void clear();

 private:
  static constexpr std::uint32_t kTouched = 1U << 31;
  static constexpr std::uint32_t kReferences = kTouched - 1;

  std::size_t size_bytes_;
  std::atomic<std::uint32_t>* states_;
};

}  // namespace layerboot::overlay
