// ListMemory: pays out of the memory budget for what a walk or a list takes while it grows.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/result.h"

namespace layerboot::overlay {

/// What a string takes beside itself: one that is short enough to lie within it, nothing.
[[nodiscard]] inline std::size_t heap_bytes(const std::string& text) {
  const std::size_t within = std::string().capacity();
  return text.capacity() > within ? text.capacity() + sizeof(void*) : 0;
}

/// Gives all back when its last copy ends. Not thread-safe.
class ListMemory {
 public:
  /// Null: nobody's, and never refused. Outlives this.
  explicit ListMemory(MemoryBudget* memory) : memory_(memory) {
    if (memory != nullptr) share_ = std::make_shared<MemoryBudget::Share>(*memory);
  }

  /// ENOMEM at the memory limit.
  Result<void> take(std::uint64_t bytes) {
    if (memory_ == nullptr) return {};
    if (!memory_->has_room(bytes)) {
      return fail(ENOMEM, "the memory limit of ", memory_->limit_bytes(), " bytes is reached");
    }
    share_->set(share_->bytes() + bytes);
    return {};
  }
  /// REQUIRES: as many were taken.
  void give_back(std::uint64_t bytes) {
    if (share_) share_->set(share_->bytes() - bytes);
  }

 private:
  MemoryBudget* memory_;
  std::shared_ptr<MemoryBudget::Share> share_;
};

}  // namespace layerboot::overlay
