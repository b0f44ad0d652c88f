// A layer written down by hand, for the tests of the tree.
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "oci-mount/tree/layer_entries.h"

namespace layerboot::tree {

/// Owns its entries' bytes. entry() gives parents before children, as a layer index does.
class FakeLayer final : public LayerEntries {
 public:
  explicit FakeLayer(std::string identity) : identity_(std::move(identity)) {}

  layer::EntryView& add(layer::EntryType type, std::string_view path) {
    layer::EntryView& entry = entries_.emplace_back();
    entry.type = type;
    entry.path = keep(path);
    entry.mode = type == layer::EntryType::kDirectory ? 0755 : 0644;
    return entry;
  }
  layer::EntryView& file(std::string_view path, std::uint64_t size_bytes = 0,
                         std::uint64_t stream_offset = 0) {
    layer::EntryView& entry = add(layer::EntryType::kFile, path);
    entry.size_bytes = size_bytes;
    if (size_bytes != 0) entry.extents = extents({{0, stream_offset, size_bytes}});
    return entry;
  }
  layer::EntryView& directory(std::string_view path, std::uint32_t mode = 0755) {
    layer::EntryView& entry = add(layer::EntryType::kDirectory, path);
    entry.mode = mode;
    return entry;
  }
  layer::EntryView& symlink(std::string_view path, std::string_view target) {
    layer::EntryView& entry = add(layer::EntryType::kSymlink, path);
    entry.link = keep(target);
    entry.mode = 0777;
    return entry;
  }
  /// To whatever is there.
  void hard_link(std::string_view path, std::string_view target) {
    add(layer::EntryType::kLinkBelow, path).link = keep(target);
  }
  /// To an entry of this layer.
  void own_hard_link(std::string_view path, std::string_view target) {
    add(layer::EntryType::kHardLink, path).link = keep(target);
  }
  void whiteout(std::string_view path) { add(layer::EntryType::kWhiteout, path); }
  void opaque(std::string_view path) { add(layer::EntryType::kOpaque, path); }

  std::string_view keep(std::string_view text) { return texts_.emplace_back(text); }
  std::span<const layer::Extent> extents(std::vector<layer::Extent> list) {
    return extents_.emplace_back(std::move(list));
  }

  [[nodiscard]] std::uint32_t entry_count() const override {
    return static_cast<std::uint32_t>(entries_.size());
  }
  [[nodiscard]] layer::EntryView entry(std::uint32_t index) const override { return entries_[index]; }
  [[nodiscard]] std::string_view identity() const override { return identity_; }

  /// As a layer index orders them. Views into entries are stale after it.
  void sort() {
    std::sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
      return a.path != b.path ? a.path < b.path : a.type < b.type;
    });
  }

 private:
  std::string identity_;
  std::deque<layer::EntryView> entries_;
  std::deque<std::string> texts_;
  std::deque<std::vector<layer::Extent>> extents_;
};

}  // namespace layerboot::tree
