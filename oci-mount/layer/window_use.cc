#include "oci-mount/layer/window_use.h"

#include <algorithm>

namespace layerboot::layer {

Result<std::vector<std::byte>> pack_used_window(const WindowUse& window) {
  if (std::ranges::find(window.needed, 1) == window.needed.end()) return std::vector<std::byte>();
  Window used;
  for (std::size_t i = 0; i < used.size(); ++i)
    used[i] = window.bytes[i] & static_cast<std::byte>(0U - window.needed[i]);
  return pack_window(used);
}

}  // namespace layerboot::layer
