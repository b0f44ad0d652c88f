#include "vfsd/fuse/reader.h"

#include <algorithm>
#include <cstring>

namespace layerboot::vfsd::fuse {

void BodyReader::take_raw(void* into, std::size_t size_bytes) {
  if (!ok_ || rest_.size() < size_bytes) {
    ok_ = false;
    return;
  }
  std::memcpy(into, rest_.data(), size_bytes);
  rest_ = rest_.subspan(size_bytes);
}

std::string_view BodyReader::take_string(std::size_t max_bytes) {
  const auto end = std::find(rest_.begin(), rest_.end(), std::byte{0});
  const auto length = static_cast<std::size_t>(end - rest_.begin());
  if (!ok_ || end == rest_.end() || length == 0 || length > max_bytes) {
    ok_ = false;
    return {};
  }
  const std::string_view text(reinterpret_cast<const char*>(rest_.data()), length);
  rest_ = rest_.subspan(length + 1);
  return text;
}

std::string_view BodyReader::take_bytes(std::size_t size_bytes) {
  if (!ok_ || rest_.size() < size_bytes) {
    ok_ = false;
    return {};
  }
  const std::string_view bytes(reinterpret_cast<const char*>(rest_.data()), size_bytes);
  rest_ = rest_.subspan(size_bytes);
  return bytes;
}

}  // namespace layerboot::vfsd::fuse
