#include "oci-mount/layer/index_builder.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/layer/digest_pipe.h"
#include "oci-mount/layer/entry_table_builder.h"
#include "oci-mount/layer/gzip_scanner.h"
#include "oci-mount/layer/index_file.h"
#include "oci-mount/layer/layer_index.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/plain_scanner.h"
#include "oci-mount/layer/stream_scanner.h"
#include "oci-mount/layer/tar_scanner.h"
#include "oci-mount/layer/zstd_scanner.h"
#include "oci-mount/store/compression.h"

namespace layerboot::layer {

namespace {

/// The uncompressed stream: its entries, and its hash.
class TarPass final : public StreamSink {
 public:
  /// `blob_bytes`: what the stream is stored in.
  TarPass(DigestPipe& pipe, store::Hasher hasher, std::uint64_t blob_bytes, FileAppender& scratch)
      : pipe_(pipe),
        hasher_(std::move(hasher)),
        max_bytes_by_ratio_(std::max(kCompressionRatioFreeBytes,
                                     kMaxCompressionRatio * std::min(blob_bytes, kMaxStreamBytes))),
        entries_(&scratch),
        scanner_([this](const TarEntry& entry) { return entries_.add(entry); }) {}

  std::span<std::byte> room() override {
    if (!buffer_) buffer_ = pipe_.acquire();
    return {buffer_.get() + filled_, DigestPipe::kBufferBytes - filled_};
  }
  Result<void> take(std::size_t size_bytes) override {
    const std::span<const std::byte> bytes(buffer_.get() + filled_, size_bytes);
    filled_ += size_bytes;
    size_bytes_ += size_bytes;
    if (size_bytes_ > max_bytes_by_ratio_) {
      return fail(E2BIG, "it unpacks to more than ", kMaxCompressionRatio,
                  " times its size, the limit for layers over ", kCompressionRatioFreeBytes, " bytes");
    }
    LB_TRY(scanner_.push(bytes));
    if (filled_ == DigestPipe::kBufferBytes) flush();
    return {};
  }
  /// A piece of a plain tar, which is hashed as the blob it is; `hash` says that it is to be hashed here too.
  Result<void> take_plain(std::span<const std::byte> bytes, bool hash) {
    if (hash) hasher_.update(bytes);
    size_bytes_ += bytes.size();
    if (size_bytes_ > kMaxStreamBytes)
      return fail(E2BIG, "it has more than the limit of ", kMaxStreamBytes, " bytes for a layer");
    return scanner_.push(bytes);
  }
  Result<void> finish() {
    flush();
    return scanner_.finish();
  }

  store::Hasher& hasher() { return hasher_; }
  EntryTableBuilder& entries() { return entries_; }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  void flush() {
    if (buffer_ && filled_ != 0) pipe_.submit(hasher_, std::move(buffer_), filled_);
    filled_ = 0;
  }

  DigestPipe& pipe_;
  store::Hasher hasher_;
  DigestPipe::Buffer buffer_;
  std::size_t filled_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t max_bytes_by_ratio_;
  EntryTableBuilder entries_;
  TarScanner scanner_;
};

/// How one pass over the blob goes about it.
struct Manner {
  bool recut = false;  // in zstd frames of our own, into a file beside the index
  std::uint64_t span_target_bytes = kSpanTargetBytes;  // of gzip

  friend bool operator==(const Manner&, const Manner&) = default;
};

class IndexBuild {
 public:
  IndexBuild(BlobPieces& blob, const ExpectedLayer& expected, store::Hasher tar_hasher, LayerFiles& files,
             SideThread& side, const Manner& manner)
      : blob_(blob),
        expected_(expected),
        files_(files),
        recut_(manner.recut ? &files.recut : nullptr),
        span_target_bytes_(manner.span_target_bytes),
        side_(side),
        tar_(pipe_, std::move(tar_hasher), blob.size_bytes(), files.scratch) {}

  // The side thread may still be at work with what goes before it does.
  ~IndexBuild() { side_.drain(); }
  IndexBuild(const IndexBuild&) = delete;
  IndexBuild& operator=(const IndexBuild&) = delete;

  Result<void> run(const std::function<void(std::uint64_t)>& on_progress) {
    LB_ASSIGN(auto piece, blob_.next());
    const auto first = piece.first(std::min(piece.size(), store::kMagicBytes));
    const auto compression = store::compression_of(as_text(first));
    if (!compression) return while_doing(compression.error(), blob_.name());
    compression_ = *compression;
    if (compression_ == store::Compression::kGzip) {
      LB_ASSIGN(gzip_, GzipScanner::create(tar_, side_, span_target_bytes_, &files_.scratch));
    }
    if (compression_ == store::Compression::kZstd) {
      LB_ASSIGN(zstd_, ZstdScanner::create(tar_, recut_));
    }
    if (is_stream()) {
      if (recut_ == nullptr) return {};
      LB_ASSIGN(stream_, StreamScanner::create(compression_, tar_, *recut_));
    }
    if (compression_ == store::Compression::kNone) {
      LB_ASSIGN(plain_, PlainScanner::create());
    }
    LB_TRY(read_through(piece, on_progress));
    if (needs_recut()) return {};
    if (!decoded_) return expected_.digests ? undecodable() : while_doing(decoded_.error(), blob_.name());
    return check_diff_id();
  }

  /// After run(): what the layer turned out to need.
  [[nodiscard]] Manner fitting_manner() const {
    Manner manner{recut_ != nullptr || needs_recut(), span_target_bytes_};
    const std::uint64_t windows_bytes = gzip_ ? gzip_->checkpoints().windows().size() : 0;
    const std::uint64_t most_bytes = tar_.size_bytes() / kMinStreamBytesPerWindowByte + kWindowsFreeBytes;
    if (windows_bytes > most_bytes) {
      const std::uint64_t factor = 1 + windows_bytes / most_bytes;
      manner.span_target_bytes = std::min(factor * span_target_bytes_, kWidestSpanTargetBytes);
    }
    return manner;
  }

  Result<void> write() {
    IndexHeader header;
    header.compression = static_cast<std::uint32_t>(compression_);
    header.blob = expected_.identity.record();
    if (expected_.digests) header.diff_id = identity_record(expected_.digests->diff_id);
    header.blob_size_bytes = blob_.size_bytes();
    header.stream_size_bytes = tar_.size_bytes();
    LB_ASSIGN(const auto table, tar_.entries().finish());
    if (recut_ != nullptr) header.recut_size_bytes = recut_->size_bytes();
    const CheckpointTableBuilder& checkpoints = gzip_     ? gzip_->checkpoints()
                                                : zstd_   ? zstd_->checkpoints()
                                                : stream_ ? stream_->checkpoints()
                                                          : plain_->checkpoints();
    return write_index(files_.index, header, checkpoints, table, expected_.source, &files_.scratch);
  }

 private:
  /// Has no place where decoding could start.
  [[nodiscard]] bool is_stream() const {
    return compression_ == store::Compression::kXz || compression_ == store::Compression::kBzip2;
  }
  /// The layer can't be read as it is.
  [[nodiscard]] bool needs_recut() const {
    if (recut_ != nullptr) return false;
    return is_stream() || (zstd_ != nullptr && !decoded_ && decoded_.error().code == EFBIG);
  }

  /// Until it is at the end, or can't be decoded. The error that comes back is one of reading.
  Result<void> read_through(std::span<const std::byte> piece,
                            const std::function<void(std::uint64_t)>& on_progress) {
    for (std::uint64_t offset = 0; !piece.empty();) {
      decoded_ = decode(piece);
      if (!decoded_) return {};
      offset += piece.size();
      on_progress(offset);
      LB_ASSIGN(piece, blob_.next());
    }
    if (decoded_ && gzip_) decoded_ = gzip_->finish();
    if (decoded_ && zstd_) decoded_ = zstd_->finish();
    if (decoded_ && stream_) decoded_ = stream_->finish();
    if (decoded_ && plain_) decoded_ = plain_->finish();
    if (decoded_) decoded_ = tar_.finish();
    side_.drain();
    return {};
  }

  Result<void> decode(std::span<const std::byte> bytes) {
    if (gzip_) return gzip_->push(bytes);
    if (stream_) return stream_->push(bytes);
    if (zstd_) return zstd_->push(bytes);
    LB_TRY(plain_->push(bytes));
    return tar_.take_plain(bytes, is_tar_hashed());
  }

  /// A plain tar's DiffID is its blob's digest, unless the two are of different algorithms.
  [[nodiscard]] bool is_tar_hashed() const {
    return compression_ != store::Compression::kNone ||
           (expected_.digests &&
            expected_.digests->blob.algorithm() != expected_.digests->diff_id.algorithm());
  }

  Result<void> check_diff_id() {
    if (!expected_.digests) return {};
    // That the blob has this digest, who hands it out finds.
    const store::Digest diff_id = is_tar_hashed() ? tar_.hasher().finish() : expected_.digests->blob;
    if (diff_id != expected_.digests->diff_id) {
      return wrong_diff_id(blob_.name(), diff_id, expected_.digests->diff_id);
    }
    return {};
  }

  std::unexpected<Error> undecodable() const {
    const std::string_view said = store::compression_name(expected_.compression);
    const bool other = compression_ == store::Compression::kNone && compression_ != expected_.compression;
    auto error =
        while_doing(decoded_.error(), blob_.name(), " is whole, but can't be served",
                    other ? str_cat(" (its media type says ", said, ", which it is not)") : std::string());
    // No other copy of it is any better.
    if (decoded_.error().code == EBADMSG)
      error.error().text += "; it was made so: whoever publishes the image has to build it again";
    return error;
  }

  BlobPieces& blob_;
  const ExpectedLayer& expected_;
  store::Compression compression_ = store::Compression::kNone;
  LayerFiles& files_;
  FileAppender* recut_;  // or null
  std::uint64_t span_target_bytes_;
  SideThread& side_;
  DigestPipe pipe_{side_};
  TarPass tar_;
  std::unique_ptr<GzipScanner> gzip_;
  std::unique_ptr<ZstdScanner> zstd_;
  std::unique_ptr<StreamScanner> stream_;  // of xz and bzip2
  std::optional<PlainScanner> plain_;
  Result<void> decoded_;
};

/// One pass. The manner that fits the layer: when it is `manner`, the index is written.
Result<Manner> try_build(BlobPieces& blob, const ExpectedLayer& expected, LayerFiles files, SideThread& side,
                         const Manner& manner, const std::function<void(std::uint64_t)>& on_progress) {
  const auto diff_algorithm =
      expected.digests ? expected.digests->diff_id.algorithm() : store::HashAlgorithm::kSha256;
  LB_ASSIGN(auto tar_hasher, store::Hasher::create(diff_algorithm));
  for (FileAppender* const file : {&files.index, &files.recut, &files.scratch}) LB_TRY(file->restart());
  IndexBuild build(blob, expected, std::move(tar_hasher), files, side, manner);
  LB_TRY(build.run(on_progress));
  const Manner fitting = build.fitting_manner();
  if (fitting == manner) LB_TRY(build.write());
  return fitting;
}

}  // namespace

Result<void> check_size(const store::Blob& blob, const ExpectedLayer& expected) {
  if (!expected.digests || blob.size_bytes() == expected.digests->size_bytes) return {};
  return fail(EBADMSG, blob.name(), " has ", blob.size_bytes(), " of ", expected.digests->size_bytes,
              " bytes: it was cut short or is another file; fetch the image again");
}

std::unexpected<Error> wrong_diff_id(const std::string& name, const store::Digest& found,
                                     const store::Digest& expected) {
  return fail(EBADMSG, name, " unpacks to ", found.text(), ", but the image's config has ", expected.text(),
              " as its DiffID: the image was put together wrong; fetch or build it again");
}

Result<IndexFiles> IndexFiles::create(const std::filesystem::path& path) {
  LB_ASSIGN(AtomicFile index, AtomicFile::create(path, 0444));
  LB_ASSIGN(AtomicFile recut, AtomicFile::create(recut_path(path), 0444));
  LB_ASSIGN(AtomicFile scratch, AtomicFile::create(path, 0400));
  return IndexFiles(std::move(index), std::move(recut), std::move(scratch), path.string());
}

Result<LayerIndex> IndexFiles::commit(const LayerIdentity& expected) {
  // A mapping through a descriptor for writing would keep the mount from being made read-only (EBUSY), which
  // the sandbox does.
  LB_ASSIGN(const UniqueFd read_only, open_path(descriptor_path(index_.fd()), O_RDONLY));
  LB_ASSIGN(LayerIndex index, LayerIndex::of_file(read_only.get(), name_, expected));
  // The index goes last: it says that the recut file is there.
  if (index.recut_size_bytes() != 0) LB_TRY(recut_.commit());
  LB_TRY(index_.commit());
  return index;
}

Result<void> fill_index(BlobPieces& blob, const ExpectedLayer& expected, LayerFiles files, SideThread& side,
                        const std::function<void(std::uint64_t)>& on_progress) {
  // Ends: a layer is recut once, and the span target only grows, up to the widest.
  for (Manner manner;;) {
    LB_ASSIGN(const Manner fitting, try_build(blob, expected, files, side, manner, on_progress));
    if (fitting == manner) return {};
    manner = fitting;
    LB_TRY(blob.restart());
  }
}

std::optional<store::Digest> blob_digest(const ExpectedLayer& expected) {
  if (!expected.digests) return std::nullopt;
  return expected.digests->blob;
}

Result<LayerIndex> build_index(const store::Blob& blob, const ExpectedLayer& expected,
                               const std::filesystem::path& path,
                               const std::function<void(std::uint64_t)>& on_progress) {
  LB_TRY(check_size(blob, expected));
  LB_ASSIGN(IndexFiles files, IndexFiles::create(path));
  SideThread side;
  LB_ASSIGN(const auto pieces, HashedPieces::create(blob, blob_digest(expected), side));
  const auto filled = fill_index(*pieces, expected, files.to_fill(), side, on_progress);
  // First: whether a blob that can't be served is damaged, or was made so, only its digest can tell.
  LB_TRY(pieces->judge());
  LB_TRY(filled);
  return files.commit(expected.identity);
}

}  // namespace layerboot::layer
