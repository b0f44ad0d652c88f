// Tree index files of any content, with the hash made right so that what lies behind it is reached.
#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "oci-mount/base/bytes.h"
#include "oci-mount/tree/tree_check.h"

namespace {

// Touches everything the tables name: a view that leaves the file is the sanitizer's to find.
void touch(const layerboot::tree::TreeTables& tables) {
  std::uint64_t sum = 0;
  const auto text = [&](std::uint64_t offset, std::uint64_t length) {
    for (const char c : tables.pool.substr(offset, length)) sum += static_cast<unsigned char>(c);
  };
  for (const auto& node : tables.nodes) {
    for (const auto& xattr : tables.xattrs.subspan(node.first_xattr, node.xattr_count))
      sum += xattr.value_length;
    for (const auto& link : tables.links.subspan(node.first_link, node.link_count)) sum += link.parent;
  }
  for (const auto& dirent : tables.dirents) {
    text(dirent.name_offset, dirent.name_length);
    if (dirent.node == 0 || dirent.node > tables.nodes.size()) std::abort();
  }
  for (const auto& xattr : tables.xattrs) text(xattr.value_offset, xattr.value_length);
  [[maybe_unused]] static volatile std::uint64_t sink;
  sink = sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using layerboot::tree::TreeHeader;
  // Aligned to 8, as a mapping is.
  auto file = std::make_unique<std::uint64_t[]>(size / 8 + 1);
  auto* bytes = reinterpret_cast<std::byte*>(file.get());
  std::memcpy(bytes, data, size);
  std::string key;
  if (size >= sizeof(TreeHeader)) {
    TreeHeader header;
    std::memcpy(&header, bytes, sizeof header);
    header.magic = layerboot::tree::kTreeMagic;
    header.version = layerboot::tree::kTreeFormatVersion;
    header.body_hash = XXH3_64bits(bytes + sizeof header, size - sizeof header);
    std::memcpy(bytes, &header, sizeof header);
    const std::string_view pool =
        layerboot::as_text({bytes, size}).substr(std::min<std::uint64_t>(header.pool.offset, size));
    if (header.key_offset <= pool.size()) key = pool.substr(header.key_offset, header.key_length);
  }
  const auto tables = layerboot::tree::check_tree_file({bytes, size}, key);
  if (tables) touch(*tables);
  return 0;
}
