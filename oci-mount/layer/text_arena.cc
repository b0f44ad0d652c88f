#include "oci-mount/layer/text_arena.h"

#include <algorithm>

namespace layerboot::layer {

std::uint32_t TextArena::add(std::string_view text) {
  if (text.empty()) return 0;
  if (text.size() > kChunkBytes - used_) {
    chunks_.push_back(std::make_unique_for_overwrite<char[]>(kChunkBytes));
    used_ = 0;
  }
  std::ranges::copy(text, chunks_.back().get() + used_);
  const std::size_t place = (chunks_.size() - 1) * kChunkBytes + used_;
  used_ += text.size();
  return static_cast<std::uint32_t>(place);
}

}  // namespace layerboot::layer
