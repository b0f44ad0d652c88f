#include "oci-mount/layer/index_file.h"

#include <xxhash.h>
#include <zstd.h>

#include <functional>
#include <memory>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::layer {

namespace {

/// Above the default the entries get a tenth smaller and the build slower.
constexpr int kEntriesLevel = 3;

EntryTable::Shape shape_of(const IndexHeader& header) {
  return {header.entry_count, header.extent_count, header.xattr_count, header.strings_size_bytes};
}

struct FreeEncoder {
  void operator()(ZSTD_CCtx* encoder) const { ::ZSTD_freeCCtx(encoder); }
};

/// Piece by piece, so that beside the table only its packed form takes memory, which is a tenth.
Result<std::vector<std::byte>> pack_entries(const EntryTableBuilder::Table& table) {
  constexpr std::size_t kPieceBytes = 256U << 10U;
  LB_ASSIGN(const std::size_t size_bytes, table.shape().size_bytes());
  const std::unique_ptr<ZSTD_CCtx, FreeEncoder> encoder(::ZSTD_createCCtx());
  if (!encoder) return fail(ENOMEM, "no memory for zstd");
  ::ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_compressionLevel, kEntriesLevel);
  ::ZSTD_CCtx_setPledgedSrcSize(encoder.get(), size_bytes);
  std::vector<std::byte> packed;
  std::vector<std::byte> piece(kPieceBytes);
  const auto feed = [&](std::span<const std::byte> bytes, ZSTD_EndDirective what) -> Result<void> {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    for (bool more = true; more;) {
      ZSTD_outBuffer out{piece.data(), piece.size(), 0};
      const std::size_t left = ::ZSTD_compressStream2(encoder.get(), &out, &in, what);
      if (::ZSTD_isError(left) != 0) return fail(ENOMEM, "zstd: ", ::ZSTD_getErrorName(left));
      packed.insert(packed.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(out.pos));
      more = what == ZSTD_e_end ? left != 0 : in.pos != in.size;
    }
    return {};
  };
  for (const auto part : table.parts()) LB_TRY(feed(part, ZSTD_e_continue));
  LB_TRY(feed({}, ZSTD_e_end));
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

Result<void> write_index(FileAppender& file, IndexHeader header, const CheckpointTableBuilder& checkpoints,
                         const EntryTableBuilder::Table& entries, std::string_view source) {
  LB_ASSIGN(const auto packed, pack_entries(entries));
  const EntryTable::Shape shape = entries.shape();
  header.magic = kIndexMagic;
  header.format_version = kIndexFormatVersion;
  header.policy_version = kIndexPolicyVersion;
  header.checkpoint_count = checkpoints.records().size();
  header.windows_size_bytes = checkpoints.windows_size_bytes();
  header.entry_count = shape.entry_count;
  header.extent_count = shape.extent_count;
  header.xattr_count = shape.xattr_count;
  header.strings_size_bytes = shape.strings_size_bytes;
  header.entries_packed_bytes = packed.size();
  header.source_size_bytes = static_cast<std::uint32_t>(source.size());
  header.file_hash = 0;
  using Take = std::function<Result<void>(std::span<const std::byte>)>;
  const auto each_part = [&](const Take& take) -> Result<void> {
    LB_TRY(take(object_bytes(header)));
    LB_TRY(take(std::as_bytes(checkpoints.records())));
    LB_TRY(checkpoints.each_window_piece(take));
    LB_TRY(take(packed));
    return take(as_bytes(source));
  };
  FileHash hash;
  LB_TRY(each_part([&hash](std::span<const std::byte> part) -> Result<void> {
    hash.update(part);
    return {};
  }));
  LB_ASSIGN(header.file_hash, hash.finish());
  return each_part([&file](std::span<const std::byte> part) { return file.append(part); });
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
  // A layer of no bytes has no recut file to speak of, whatever it is compressed with.
  const bool is_recut = header.recut_size_bytes != 0;
  const bool may_be_recut = header.compression >= static_cast<std::uint32_t>(store::Compression::kZstd);
  if (header.compression > static_cast<std::uint32_t>(store::Compression::kBzip2) ||
      (is_recut && !may_be_recut)) {
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
