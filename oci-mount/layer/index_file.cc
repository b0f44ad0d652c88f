#include "oci-mount/layer/index_file.h"

#include <xxhash.h>
#include <zstd.h>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::layer {

namespace {

/// Above the default the entries get a tenth smaller and the build slower.
constexpr int kEntriesLevel = 3;

EntryTable::Shape shape_of(const IndexHeader& header) {
  return {header.entry_count, header.extent_count, header.xattr_count, header.strings_size_bytes};
}

Result<std::vector<std::byte>> pack_entries(std::span<const std::byte> bytes) {
  std::vector<std::byte> packed(::ZSTD_compressBound(bytes.size()));
  const std::size_t size =
      ::ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), kEntriesLevel);
  if (::ZSTD_isError(size) != 0) return fail(ENOMEM, "zstd: ", ::ZSTD_getErrorName(size));
  packed.resize(size);
  return packed;
}

/// Of the header with its hash field as 0, and of all that follows.
class FileHash {
 public:
  FileHash() : state_(::XXH3_createState()) {
    if (state_ != nullptr) ::XXH3_64bits_reset(state_);
  }
  ~FileHash() { ::XXH3_freeState(state_); }
  FileHash(const FileHash&) = delete;
  FileHash& operator=(const FileHash&) = delete;

  void update(std::span<const std::byte> bytes) {
    if (state_ != nullptr) ::XXH3_64bits_update(state_, bytes.data(), bytes.size());
  }
  Result<std::uint64_t> finish() const {
    if (state_ == nullptr) return fail(ENOMEM, "no memory for a hash");
    return ::XXH3_64bits_digest(state_);
  }

 private:
  XXH3_state_t* state_;
};

}  // namespace

Result<void> write_index(AtomicFile& file, IndexHeader header, std::span<const CheckpointRecord> checkpoints,
                         std::span<const std::byte> windows, const EntryTableBuilder::Table& entries,
                         std::string_view source) {
  LB_ASSIGN(const auto packed, pack_entries(entries.bytes));
  header.magic = kIndexMagic;
  header.format_version = kIndexFormatVersion;
  header.policy_version = kIndexPolicyVersion;
  header.checkpoint_count = checkpoints.size();
  header.windows_size_bytes = windows.size();
  header.entry_count = entries.shape.entry_count;
  header.extent_count = entries.shape.extent_count;
  header.xattr_count = entries.shape.xattr_count;
  header.strings_size_bytes = entries.shape.strings_size_bytes;
  header.entries_packed_bytes = packed.size();
  header.source_size_bytes = static_cast<std::uint32_t>(source.size());
  header.file_hash = 0;
  FileHash hash;
  hash.update(object_bytes(header));
  hash.update(std::as_bytes(checkpoints));
  hash.update(windows);
  hash.update(packed);
  hash.update(as_bytes(source));
  LB_ASSIGN(header.file_hash, hash.finish());
  LB_TRY(file.append(object_bytes(header)));
  LB_TRY(file.append(std::as_bytes(checkpoints)));
  LB_TRY(file.append(windows));
  LB_TRY(file.append(packed));
  return file.append(as_bytes(source));
}

Result<IndexParts> parse_index_file(std::span<const std::byte> bytes) {
  IndexParts parts;
  ByteReader reader(bytes);
  parts.header = reader.read<IndexHeader>();
  const IndexHeader& header = parts.header;
  if (!reader.ok() || header.magic != kIndexMagic) return fail(EBADMSG, "it is no layer index");
  if (header.format_version != kIndexFormatVersion || header.policy_version != kIndexPolicyVersion) {
    return fail(ESTALE, "it is of another version");
  }
  std::uint64_t offset = sizeof(IndexHeader);
  parts.checkpoints = table_at<CheckpointRecord>(bytes, offset, header.checkpoint_count);
  if (parts.checkpoints.size() != header.checkpoint_count) return fail(EBADMSG, "it is cut short");
  offset += parts.checkpoints.size_bytes();
  if (header.windows_size_bytes > bytes.size() - offset) return fail(EBADMSG, "it is cut short");
  parts.windows = bytes.subspan(offset, header.windows_size_bytes);
  const auto rest = bytes.subspan(offset + header.windows_size_bytes);
  if (header.source_size_bytes > kMaxPathBytes || rest.size() < header.source_size_bytes ||
      rest.size() - header.source_size_bytes != header.entries_packed_bytes) {
    return fail(EBADMSG, "its size is wrong");
  }
  parts.packed_entries = rest.first(header.entries_packed_bytes);
  parts.source = as_text(rest.subspan(header.entries_packed_bytes));
  if (header.compression > static_cast<std::uint32_t>(store::Compression::kZstd) ||
      (header.recut_size_bytes != 0 &&
       header.compression != static_cast<std::uint32_t>(store::Compression::kZstd))) {
    return fail(EBADMSG, "its header is damaged");
  }
  LB_TRY(shape_of(header).size_bytes());
  IndexHeader unhashed = header;
  unhashed.file_hash = 0;
  FileHash hash;
  hash.update(object_bytes(unhashed));
  hash.update(bytes.subspan(sizeof(IndexHeader)));
  LB_ASSIGN(const std::uint64_t found, hash.finish());
  if (found != header.file_hash) return fail(EBADMSG, "it is damaged: its hash is wrong");
  return parts;
}

Result<EntryTable> unpack_entries(const IndexHeader& header, std::span<const std::byte> packed) {
  LB_ASSIGN(const std::size_t size_bytes, shape_of(header).size_bytes());
  std::vector<std::byte> bytes(size_bytes);
  const std::size_t size = ::ZSTD_decompress(bytes.data(), bytes.size(), packed.data(), packed.size());
  if (size != size_bytes) return fail(EBADMSG, "an entry table can't be unpacked");
  return EntryTable::parse(std::move(bytes), shape_of(header), header.stream_size_bytes);
}

}  // namespace layerboot::layer
