#include "oci-mount/layer/index_file.h"

#include <zstd.h>

#include <functional>
#include <memory>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/spilled.h"
#include "oci-mount/layer/stream_hash.h"
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

Result<Spilled<std::byte>> pack_entries(const BuiltEntryTable& table, FileAppender* scratch) {
  constexpr std::size_t kPieceBytes = 256U << 10U;
  LB_ASSIGN(const std::size_t size_bytes, table.shape().size_bytes());
  const std::unique_ptr<ZSTD_CCtx, FreeEncoder> encoder(::ZSTD_createCCtx());
  if (!encoder) return fail(ENOMEM, "no memory for zstd");
  ::ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_compressionLevel, kEntriesLevel);
  ::ZSTD_CCtx_setPledgedSrcSize(encoder.get(), size_bytes);
  Spilled<std::byte> packed(scratch);
  std::vector<std::byte> piece(kPieceBytes);
  const auto feed = [&](std::span<const std::byte> bytes, ZSTD_EndDirective what) -> Result<void> {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    for (bool more = true; more;) {
      ZSTD_outBuffer out{piece.data(), piece.size(), 0};
      const std::size_t left = ::ZSTD_compressStream2(encoder.get(), &out, &in, what);
      if (::ZSTD_isError(left) != 0) return fail(ENOMEM, "zstd: ", ::ZSTD_getErrorName(left));
      LB_TRY(packed.append(std::span(piece).first(out.pos)));
      more = what == ZSTD_e_end ? left != 0 : in.pos != in.size;
    }
    return {};
  };
  LB_TRY(table.each_piece([&feed](auto bytes) { return feed(bytes, ZSTD_e_continue); }));
  LB_TRY(feed({}, ZSTD_e_end));
  return packed;
}

}  // namespace

Result<void> write_index(FileAppender& file, IndexHeader header, const CheckpointTableBuilder& checkpoints,
                         const BuiltEntryTable& entries, std::string_view source, FileAppender* scratch) {
  LB_ASSIGN(const auto packed, pack_entries(entries, scratch));
  const EntryTable::Shape shape = entries.shape();
  header.magic = kIndexMagic;
  header.format_version = kIndexFormatVersion;
  header.policy_version = kIndexPolicyVersion;
  header.checkpoint_count = checkpoints.records().size();
  header.windows_size_bytes = checkpoints.windows().size();
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
    LB_TRY(checkpoints.windows().each_piece(take));
    LB_TRY(packed.each_piece(take));
    return take(as_bytes(source));
  };
  LB_ASSIGN(StreamHash hash, StreamHash::create());
  LB_TRY(each_part([&hash](std::span<const std::byte> part) -> Result<void> {
    hash.update(part);
    return {};
  }));
  header.file_hash = hash.digest();
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
  LB_ASSIGN(StreamHash hash, StreamHash::create());
  hash.update(object_bytes(unhashed));
  hash.update(bytes.subspan(sizeof(IndexHeader)));
  if (hash.digest() != header.file_hash) return fail(EBADMSG, "it is damaged: its hash is wrong");
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
