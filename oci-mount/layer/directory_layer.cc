#include "oci-mount/layer/directory_layer.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "oci-mount/base/files.h"
#include "oci-mount/layer/directory_blob.h"
#include "oci-mount/layer/directory_walk.h"
#include "oci-mount/layer/index_file.h"

namespace layerboot::layer {

namespace {

Result<void> write(const std::filesystem::path& path, const LayerIdentity& identity,
                   const DirectoryWalk& walk, const std::string& source) {
  IndexHeader header;
  header.compression = static_cast<std::uint32_t>(store::Compression::kNone);
  header.blob = identity.record();
  header.blob_size_bytes = walk.stream_size_bytes;
  header.stream_size_bytes = walk.stream_size_bytes;
  LB_TRY(make_directories(path.parent_path()));
  LB_ASSIGN(AtomicFile file, AtomicFile::create(path, 0444));
  LB_TRY(write_index(file, header, CheckpointTableBuilder(), walk.entries, source));
  return file.commit();
}

/// The mounts last as long as the descriptor, and are those that are there now: what the host mounts later
/// would have none of the attributes.
Result<UniqueFd> clone_mounts(const std::filesystem::path& directory) {
  UniqueFd tree(::open_tree(AT_FDCWD, directory.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!tree) return errno_error("mounts of directory ", directory.string());
  mount_attr change{};
  change.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  change.propagation = MS_PRIVATE;
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &change, sizeof(change)) != 0)
    return errno_error("attributes of the mounts of directory ", directory.string());
  return tree;
}

}  // namespace

Result<std::shared_ptr<const Layer>> open_directory_layer(const std::filesystem::path& directory,
                                                          const OpenOptions& options) {
  LB_ASSIGN(UniqueFd fd,
            options.clone_mounts ? clone_mounts(directory) : open_path(directory, O_RDONLY | O_DIRECTORY));
  LB_ASSIGN(DirectoryWalk walk, walk_directory(fd.get(), directory.string()));
  const auto identity = LayerIdentity::of_directory(walk.hash_high, walk.hash_low);
  const auto path = options.index_dir / identity.index_file_name();
  auto index = LayerIndex::open(path, identity);
  if (!index) {
    LB_TRY(write(path, identity, walk, directory.string()));
    index = LayerIndex::open(path, identity);
  }
  if (!index) return std::unexpected(index.error());
  auto blob = std::make_shared<const DirectoryBlob>(std::move(fd), std::move(walk.files),
                                                    walk.stream_size_bytes, directory.string());
  return std::make_shared<const Layer>(std::move(blob), identity, std::move(*index));
}

}  // namespace layerboot::layer
