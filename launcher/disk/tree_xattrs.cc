#include "launcher/disk/tree_xattrs.h"

namespace layerboot::launcher {

namespace {

constexpr std::uint64_t kEntryBytes = 16;
constexpr std::uint64_t kAlignBytes = 4;

std::uint64_t aligned(std::uint64_t size_bytes) {
  return (size_bytes + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
}

}  // namespace

std::uint64_t ext4_xattr_bytes(const FileXattrs& xattrs) {
  std::uint64_t sum = 0;
  // With the prefix ("user."), of which ext4 keeps a number.
  for (const auto& [name, value] : xattrs) sum += kEntryBytes + aligned(name.size()) + aligned(value.size());
  return sum;
}

}  // namespace layerboot::launcher
