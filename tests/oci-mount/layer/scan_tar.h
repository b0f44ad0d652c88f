// A whole tar, scanned.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/tar_scanner.h"

namespace layerboot::layer {

/// Its entries, or why it is refused; the scanner gets it in pieces of this size.
inline Result<std::vector<TarEntry>> scan(std::string_view tar, std::size_t piece_bytes = 1 << 20) {
  std::vector<TarEntry> entries;
  TarScanner scanner([&](TarEntry entry) -> Result<void> {
    entries.push_back(std::move(entry));
    return {};
  });
  for (std::size_t offset = 0; offset < tar.size(); offset += piece_bytes) {
    LB_TRY(scanner.push(as_bytes(tar.substr(offset, piece_bytes))));
  }
  LB_TRY(scanner.finish());
  return entries;
}

inline void expect_refused(std::string_view tar, std::string_view reason) {
  const auto entries = scan(tar);
  ASSERT_FALSE(entries) << reason;
  EXPECT_NE(entries.error().text.find(reason), std::string::npos) << entries.error().text;
}

}  // namespace layerboot::layer
