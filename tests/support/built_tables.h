// What is built piece by piece, as a whole.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <span>
#include <vector>

#include "oci-mount/layer/entry_table_builder.h"
#include "oci-mount/layer/spilled.h"

namespace layerboot::test {

/// REQUIRES: it can be read.
template <typename T>
std::vector<T> items_of(const layer::Spilled<T>& spilled) {
  std::vector<T> items;
  const auto done = spilled.each_piece([&items](std::span<const T> piece) -> Result<void> {
    items.insert(items.end(), piece.begin(), piece.end());
    return {};
  });
  if (!done) std::abort();
  return items;
}

inline std::vector<std::byte> bytes_of(const layer::BuiltEntryTable& table) {
  std::vector<std::byte> bytes;
  const auto done = table.each_piece([&bytes](std::span<const std::byte> piece) -> Result<void> {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
    return {};
  });
  if (!done) std::abort();
  return bytes;
}

}  // namespace layerboot::test
