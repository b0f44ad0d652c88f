// Copying to and from scatter lists (iovec), the one way everyone does it.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace layerboot {

[[nodiscard]] inline std::size_t total_bytes(std::span<const iovec> slices) {
  std::size_t total = 0;
  for (const iovec& slice : slices) total += slice.iov_len;
  return total;
}

namespace io_slices_detail {

/// Calls visit(pointer, length) for the pieces of `slices` that make up [offset, offset + length).
/// Returns the bytes visited, fewer than `length` where the list ends first.
template <typename Visit>
std::size_t for_each_piece(std::span<const iovec> slices, std::size_t offset, std::size_t length,
                           Visit visit) {
  std::size_t done = 0;
  for (const iovec& slice : slices) {
    if (done == length) break;
    if (offset >= slice.iov_len) {
      offset -= slice.iov_len;
      continue;
    }
    const std::size_t piece = std::min(slice.iov_len - offset, length - done);
    visit(static_cast<std::byte*>(slice.iov_base) + offset, piece);
    offset = 0;
    done += piece;
  }
  return done;
}

}  // namespace io_slices_detail

/// Copies `from` into the list, from its byte `offset` on. Returns the bytes copied: fewer than
/// from.size() where the list ends first.
inline std::size_t copy_into_slices(std::span<const iovec> into, std::size_t offset,
                                    std::span<const std::byte> from) {
  const std::byte* next = from.data();
  return io_slices_detail::for_each_piece(into, offset, from.size(),
                                          [&](std::byte* piece, std::size_t length) {
                                            std::memcpy(piece, next, length);
                                            next += length;
                                          });
}

/// Fills `into` from the list, from its byte `offset` on. Returns the bytes copied, as above.
inline std::size_t copy_from_slices(std::span<const iovec> from, std::size_t offset,
                                    std::span<std::byte> into) {
  std::byte* next = into.data();
  return io_slices_detail::for_each_piece(from, offset, into.size(),
                                          [&](const std::byte* piece, std::size_t length) {
                                            std::memcpy(next, piece, length);
                                            next += length;
                                          });
}

/// Zeroes the bytes [offset, offset + length) of the list. Returns how many those were, as above.
inline std::size_t zero_slices(std::span<const iovec> into, std::size_t offset, std::size_t length) {
  return io_slices_detail::for_each_piece(
      into, offset, length,
      [](std::byte* piece, std::size_t piece_length) { std::memset(piece, 0, piece_length); });
}

/// Sets `part` to the bytes [offset, offset + length) of the list, fewer where the list ends first, and
/// returns how many they are. `part` keeps its room from one use to the next.
inline std::size_t sub_slices(std::span<const iovec> slices, std::size_t offset, std::size_t length,
                              std::vector<iovec>& part) {
  part.clear();
  return io_slices_detail::for_each_piece(
      slices, offset, length,
      [&](std::byte* piece, std::size_t piece_length) { part.push_back({piece, piece_length}); });
}

/// The same, as a list of its own.
[[nodiscard]] inline std::vector<iovec> sub_slices(std::span<const iovec> slices, std::size_t offset,
                                                   std::size_t length) {
  std::vector<iovec> part;
  sub_slices(slices, offset, length, part);
  return part;
}

}  // namespace layerboot
