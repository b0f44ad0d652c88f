#include "oci-mount/tree/tree_builder.h"

#include <xxhash.h>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/mapping.h"
#include "oci-mount/tree/merge.h"
#include "oci-mount/tree/tree_format.h"
#include "oci-mount/tree/tree_image.h"

namespace layerboot::tree {

namespace {

Result<std::unique_ptr<const Tree>> open_file(const std::filesystem::path& path, std::string_view key) {
  LB_ASSIGN(const UniqueFd fd, open_trusted(path));
  return Tree::open(fd.get(), key);
}

}  // namespace

std::filesystem::path tree_path(const std::filesystem::path& index_dir, std::string_view key) {
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  std::string name;
  for (const XXH64_hash_t half : {hash.high64, hash.low64}) {
    for (int shift = 60; shift >= 0; shift -= 4) name += "0123456789abcdef"[(half >> shift) & 0xf];
  }
  return index_dir / (name + ".tree");
}

Result<std::string> read_tree_key(const std::filesystem::path& path) {
  LB_ASSIGN(const UniqueFd fd, open_trusted(path));
  LB_ASSIGN(const Mapping mapping, Mapping::read_only(fd.get()));
  const auto bytes = mapping.bytes();
  ByteReader reader(bytes);
  const auto header = reader.read<TreeHeader>();
  if (!reader.ok() || header.magic != kTreeMagic)
    return fail(EBADMSG, "tree index ", path.string(), ": not one, or cut short");
  if (header.version != kTreeFormatVersion)
    return fail(ESTALE, "tree index ", path.string(), ": of another format version");
  const auto pool = as_text(table_at<std::byte>(bytes, header.pool.offset, header.pool.count));
  if (header.key_offset > pool.size() || header.key_length > pool.size() - header.key_offset)
    return fail(EBADMSG, "tree index ", path.string(), ": its key leaves the file");
  return std::string(pool.substr(header.key_offset, header.key_length));
}

Result<TreeImage> build_tree(std::span<const LayerEntries* const> layers, std::string_view key) {
  Merge merge;
  for (const LayerEntries* layer : layers) LB_TRY(merge.add(*layer));
  return TreeImage::lay_out(merge, layers, key);
}

Result<std::unique_ptr<const Tree>> open_or_build_tree(std::string_view key,
                                                       const std::filesystem::path& index_dir,
                                                       const std::function<Result<TreeImage>()>& build) {
  const std::filesystem::path path = tree_path(index_dir, key);
  auto opened = open_file(path, key);
  if (opened) return opened;
  if (opened.error().code == ESTALE) {
    log_debug(path.string(), ": ", opened.error().describe(), "; it is built anew");
  } else if (opened.error().code != ENOENT) {
    log_warn(path.string(), ": ", opened.error().describe(), "; it is built anew");
  }
  LB_ASSIGN(const TreeImage image, build());
  LB_ASSIGN(AtomicFile file, AtomicFile::create(path, 0444));
  LB_TRY(image.write(file));
  LB_TRY(file.commit());
  return open_file(path, key);
}

}  // namespace layerboot::tree
