// Spilled: a sequence that grows at its end, of which only that end is in memory; what comes before it lies
// in a scratch file.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"

namespace layerboot::layer {

/// Several may share a scratch file, each takes pieces of it as it grows. Errors are the file's. Not
/// thread-safe.
template <typename T>
class Spilled {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  /// What at() reads at once, some 4 KiB; and what goes to the file at once, and is held at most.
  static constexpr std::size_t kPageItems = std::max<std::size_t>(1, (std::size_t{4} << 10U) / sizeof(T));
  static constexpr std::size_t kPieceItems = 16 * kPageItems;

  /// `scratch` outlives this, and is not emptied meanwhile. Null: all is held.
  explicit Spilled(FileAppender* scratch) : scratch_(scratch) {}

  Result<void> append(std::span<const T> items) {
    while (!items.empty()) {
      const std::size_t room = scratch_ == nullptr ? items.size() : kPieceItems - held_.size();
      const auto now = items.first(std::min(room, items.size()));
      held_.insert(held_.end(), now.begin(), now.end());
      items = items.subspan(now.size());
      if (scratch_ != nullptr && held_.size() == kPieceItems) LB_TRY(spill());
    }
    return {};
  }
  Result<void> push_back(const T& item) { return append(std::span(&item, 1)); }

  [[nodiscard]] std::uint64_t size() const { return places_.size() * kPieceItems + held_.size(); }

  /// Any one of them; those that lie near to one that was asked for lately are in memory. REQUIRES: i <
  /// size().
  Result<T> at(std::uint64_t i) const {
    const std::uint64_t spilled = places_.size() * kPieceItems;
    if (i >= spilled) return held_[static_cast<std::size_t>(i - spilled)];
    if (pages_.empty()) pages_.resize(kPages);
    Page& page = pages_[i / kPageItems % kPages];
    const std::uint64_t first = i / kPageItems * kPageItems;
    if (page.first != first) {
      page.first = kNoPage;
      LB_TRY(scratch_->read_back(places_[first / kPieceItems] + first % kPieceItems * sizeof(T),
                                 std::as_writable_bytes(std::span(page.items))));
      page.first = first;
    }
    return page.items[static_cast<std::size_t>(i - first)];
  }

  /// All of them in their order, in pieces of some size.
  Result<void> each_piece(const std::function<Result<void>(std::span<const T>)>& take) const {
    std::vector<T> piece(places_.empty() ? 0 : kPieceItems);
    for (const std::uint64_t place : places_) {
      LB_TRY(scratch_->read_back(place, std::as_writable_bytes(std::span(piece))));
      LB_TRY(take(piece));
    }
    return take(held_);
  }

 private:
  static constexpr std::uint64_t kNoPage = UINT64_MAX;
  static constexpr std::size_t kPages = 64;
  struct Page {
    std::uint64_t first = kNoPage;
    std::array<T, kPageItems> items;
  };

  Result<void> spill() {
    const std::uint64_t place = scratch_->size_bytes();
    LB_TRY(scratch_->append(std::as_bytes(std::span(held_))));
    places_.push_back(place);
    held_.clear();
    return {};
  }

  FileAppender* scratch_;
  std::vector<std::uint64_t> places_;  // of the pieces in the file
  std::vector<T> held_;
  mutable std::vector<Page> pages_;  // by number, one in each place
};

}  // namespace layerboot::layer
