#include "oci-mount/mount/layer_file.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <thread>

#include "oci-mount/base/decimal.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/worker_pool.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/span_compressor.h"
#include "oci-mount/store/image.h"

namespace layerboot::mount {

namespace {

constexpr unsigned kMaxThreads = 16;
/// Of the last year that a time in an image's config can be of (RFC 3339).
constexpr std::int64_t kLastSecond = 253402300799;

/// Hashes what passes.
class HashedOutput {
 public:
  HashedOutput(store::Hasher hasher, PutBytes put) : hasher_(std::move(hasher)), put_(std::move(put)) {}

  Result<void> put(std::span<const std::byte> bytes) {
    hasher_.update(bytes);
    size_bytes_ += bytes.size();
    return put_(bytes);
  }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] store::Digest digest() { return hasher_.finish(); }

 private:
  store::Hasher hasher_;
  PutBytes put_;
  std::uint64_t size_bytes_ = 0;
};

Result<HashedOutput> hashed(PutBytes put) {
  LB_ASSIGN(auto hasher, store::Hasher::create(store::HashAlgorithm::kSha256));
  return HashedOutput(std::move(hasher), std::move(put));
}

store::ImageLayer image_layer(const WrittenLayer& written, const std::filesystem::path& path) {
  store::ImageLayer layer;
  layer.media_type = written.media_type();
  layer.compression = written.compression;
  layer.blob = written.blob;
  layer.size_bytes = written.size_bytes;
  layer.diff_id = written.diff_id;
  layer.path = path;
  return layer;
}

}  // namespace

std::string WrittenLayer::media_type() const {
  constexpr std::string_view kTar = "application/vnd.oci.image.layer.v1.tar";
  if (compression == store::Compression::kNone) return std::string(kTar);
  return str_cat(kTar, "+", store::compression_name(compression));
}

std::string WrittenLayer::json() const {
  return str_cat(R"({"digest":")", blob.text(), R"(","diff_id":")", diff_id.text(), R"(","size":)",
                 size_bytes, R"(,"tar_size":)", tar_bytes, R"(,"mediaType":")", media_type(), "\"}\n");
}

Result<WrittenLayer> write_compressed_layer(const overlay::Lower& lower, Reactor& reactor,
                                            const SeenUpper& upper, const LayerOptions& options,
                                            store::Compression compression, const PutBytes& put) {
  WrittenLayer written;
  written.compression = compression;
  LB_ASSIGN(HashedOutput blob, hashed(put));
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1U, kMaxThreads);
  WorkerPool workers(threads);
  std::unique_ptr<layer::SpanCompressor> compressor;
  const PutBytes put_blob = [&blob](std::span<const std::byte> bytes) { return blob.put(bytes); };
  PutBytes put_tar = put_blob;
  if (compression != store::Compression::kNone) {
    // Who sets SOURCE_DATE_EPOCH wants the same bytes elsewhere, too.
    const auto coder = options.newest_mtime_sec ? layer::GzipCoder::kSame : layer::GzipCoder::kFast;
    compressor = std::make_unique<layer::SpanCompressor>(compression, workers, threads, put_blob, coder);
    put_tar = [&compressor](std::span<const std::byte> bytes) { return compressor->push(bytes); };
  }
  LB_ASSIGN(HashedOutput tar, hashed(put_tar));
  LB_TRY(write_layer(lower, reactor, upper, options,
                     [&tar](std::span<const std::byte> bytes) { return tar.put(bytes); }));
  if (compressor) LB_TRY(compressor->finish());
  written.tar_bytes = tar.size_bytes();
  written.size_bytes = blob.size_bytes();
  written.diff_id = tar.digest();
  written.blob = blob.digest();
  return written;
}

Result<WrittenLayer> write_layer_file(const overlay::Lower& lower, Reactor& reactor, const SeenUpper& upper,
                                      const LayerOptions& options, store::Compression compression,
                                      const std::filesystem::path& path,
                                      const std::filesystem::path& index_dir) {
  LB_ASSIGN(AtomicFile file, AtomicFile::create(path));
  LB_ASSIGN(const WrittenLayer written,
            write_compressed_layer(lower, reactor, upper, options, compression,
                                   [&file](std::span<const std::byte> bytes) { return file.append(bytes); }));
  LB_TRY(file.commit());
  auto indexed = layer::open_layer(image_layer(written, path), {.index_dir = index_dir});
  if (indexed) return written;
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  return std::unexpected(std::move(indexed).error());
}

Result<std::optional<std::int64_t>> source_date_epoch() {
  const char* const given = std::getenv("SOURCE_DATE_EPOCH");
  if (given == nullptr || *given == '\0') return std::optional<std::int64_t>();
  const auto seconds = parse_whole<std::int64_t>(given);
  if (!seconds || *seconds < 0 || *seconds > kLastSecond)
    return fail(EINVAL, "SOURCE_DATE_EPOCH is \"", printable(given),
                "\", which is no number of seconds since 1970, of the year 9999 at most");
  return seconds;
}

}  // namespace layerboot::mount
