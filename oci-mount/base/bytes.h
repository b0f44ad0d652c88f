// Bounds-checked little-endian reading and writing of byte strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace layerboot {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "on-disk formats are read as they lie");

[[nodiscard]] inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
[[nodiscard]] inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
/// The object's own bytes, for writing a record as it lies in memory.
template <typename T>
  requires std::is_trivially_copyable_v<T>
[[nodiscard]] std::span<const std::byte> object_bytes(const T& object) {
  return {reinterpret_cast<const std::byte*>(&object), sizeof(T)};
}

/// Walks over untrusted bytes. A read past the end gives zeroes and turns ok() false for good, so a
/// parser may read a whole record and check once.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <typename T>
    requires std::is_trivially_copyable_v<T>
  T read() {
    T value{};
    if (rest_.size() < sizeof(T)) {
      ok_ = false;
      rest_ = {};
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  std::span<const std::byte> take(std::size_t size_bytes) {
    if (rest_.size() < size_bytes) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const auto head = rest_.first(size_bytes);
    rest_ = rest_.subspan(size_bytes);
    return head;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::span<const std::byte> rest() const { return rest_; }

 private:
  std::span<const std::byte> rest_;
  bool ok_ = true;
};

/// A table of T inside a mapped file: `count` records at `offset`, or an empty span when they would
/// not lie, aligned, inside `file`. T must be a record type made for mapping.
template <typename T>
  requires std::is_trivially_copyable_v<T>
[[nodiscard]] std::span<const T> table_at(std::span<const std::byte> file, std::uint64_t offset,
                                          std::uint64_t count) {
  if (offset > file.size() || offset % alignof(T) != 0) return {};
  if (count > (file.size() - offset) / sizeof(T)) return {};
  return {reinterpret_cast<const T*>(file.data() + offset), count};
}

}  // namespace layerboot
