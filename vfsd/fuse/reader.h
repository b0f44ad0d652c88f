// BodyReader: a walk over a request's body, of which the session has made its only copy.
//
// Every byte of a request is copied out of the guest's memory once and judged here: no double fetch.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace layerboot::vfsd::fuse {

/// A failed step makes ok() false for good.
class BodyReader {
 public:
  explicit BodyReader(std::span<const std::byte> body) : rest_(body) {}

  /// A fixed structure; zeroes if the body is too short.
  template <typename T>
  T take() {
    T value{};
    take_raw(&value, sizeof(T));
    return value;
  }
  /// A NUL-terminated string of 1 to `max_bytes` bytes, without the NUL.
  std::string_view take_string(std::size_t max_bytes);
  /// Exactly `size_bytes` bytes.
  std::string_view take_bytes(std::size_t size_bytes);

  [[nodiscard]] bool ok() const { return ok_; }
  /// ok(), and nothing is left over.
  [[nodiscard]] bool done() const { return ok_ && rest_.empty(); }
  [[nodiscard]] std::size_t rest_bytes() const { return rest_.size(); }

 private:
  void take_raw(void* into, std::size_t size_bytes);

  std::span<const std::byte> rest_;
  bool ok_ = true;
};

}  // namespace layerboot::vfsd::fuse
