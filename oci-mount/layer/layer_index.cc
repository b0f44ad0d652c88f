#include "oci-mount/layer/layer_index.h"

#include "oci-mount/base/files.h"

namespace layerboot::layer {

namespace {

Result<CheckpointTable> checkpoints_of(const IndexParts& parts) {
  const IndexHeader& header = parts.header;
  const bool is_plain = header.compression == static_cast<std::uint32_t>(store::Compression::kNone);
  if (is_plain && header.blob_size_bytes != header.stream_size_bytes)
    return fail(EBADMSG, "a plain tar of two sizes");
  // Its files are read as they are now.
  if (header.blob.kind == IdentityKind::kDirectory) {
    if (!is_plain || !parts.checkpoints.empty()) return fail(EBADMSG, "a directory that is stored");
    return CheckpointTable();
  }
  const auto read_size_bytes =
      header.recut_size_bytes != 0 ? header.recut_size_bytes : header.blob_size_bytes;
  LB_ASSIGN(const auto table, CheckpointTable::parse(parts.checkpoints, parts.windows, read_size_bytes,
                                                     header.stream_size_bytes));
  if (is_plain && !table.is_plain()) return fail(EBADMSG, "a plain tar with spans of another kind");
  return table;
}

}  // namespace

std::filesystem::path recut_path(const std::filesystem::path& index_path) {
  return std::filesystem::path(index_path).replace_extension(".zst");
}

Result<IndexOwner> read_index_owner(const std::filesystem::path& path) {
  LB_ASSIGN(const UniqueFd fd, open_trusted(path));
  LB_ASSIGN(const Mapping mapping, Mapping::read_only(fd.get()));
  const auto parts = parse_index_file(mapping.bytes());
  if (!parts) return while_doing(parts.error(), "index ", path.string());
  return IndexOwner{parts->header.blob, std::string(parts->source)};
}

Result<LayerIndex> LayerIndex::open(const std::filesystem::path& path, const LayerIdentity& expected) {
  LB_ASSIGN(const UniqueFd fd, open_trusted(path));
  return of_file(fd.get(), path.string(), expected);
}

Result<LayerIndex> LayerIndex::of_file(int fd, const std::string& name, const LayerIdentity& expected) {
  LB_ASSIGN(Mapping mapping, Mapping::read_only(fd));
  auto parts = parse_index_file(mapping.bytes());
  if (!parts) return while_doing(parts.error(), "index ", name);
  const IndexHeader& header = parts->header;
  if (header.blob != expected.record()) return fail(ESTALE, "index ", name, ": it is of another layer");
  auto checkpoints = checkpoints_of(*parts);
  if (!checkpoints) return while_doing(checkpoints.error(), "index ", name);
  return LayerIndex(std::move(mapping), *parts, *checkpoints);
}

store::Compression LayerIndex::compression() const {
  return static_cast<store::Compression>(header_.compression);
}

Result<EntryTable> LayerIndex::load_entries() const { return unpack_entries(header_, packed_entries_); }

}  // namespace layerboot::layer
