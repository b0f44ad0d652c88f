#include "oci-mount/layer/span_compressor.h"

#include <isa-l/igzip_lib.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

constexpr int kGzipLevel = 6;       // gzip's own
constexpr unsigned kIsalLevel = 3;  // its highest
constexpr int kZstdLevel = 3;
constexpr int kRawDeflate = -MAX_WBITS;
constexpr int kMemoryLevel = 8;
/// What deflateBound() leaves out: the empty block of a full flush, and the one that ends the stream.
constexpr std::size_t kFlushBytes = 16;
/// Room for a thousandth more than what ISA-L gets, and for the flush.
constexpr std::size_t kIsalRoomShare = 1024;

/// RFC 1952: no name, no time, no system, so that the same stream gives the same bytes.
constexpr std::array<unsigned char, 10> kGzipHeader = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff};

std::span<const std::byte> bytes_of(const auto& values) { return std::as_bytes(std::span(values)); }

void put_little_endian(unsigned char* to, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<unsigned char>(value >> (8 * i));
}

}  // namespace

struct SpanCompressor::Piece {
  std::vector<std::byte> in;
  std::vector<std::byte> out;
  std::uint32_t crc = 0;
  bool is_last = false;
  bool done = false;  // under mutex_
  Result<void> result;
};

/// What a library needs to compress; used for one piece after the other, and by one thread at a time.
struct SpanCompressor::Context {
  z_stream deflate{};
  bool deflate_ready = false;
  std::vector<std::uint8_t> isal_memory;
  ZSTD_CCtx* zstd = nullptr;

  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    if (deflate_ready) ::deflateEnd(&deflate);
    ZSTD_freeCCtx(zstd);
  }

  Result<void> gzip(Piece& piece, GzipCoder coder) {
    piece.crc = static_cast<std::uint32_t>(
        ::crc32_z(0, reinterpret_cast<const Bytef*>(piece.in.data()), piece.in.size()));
    return coder == GzipCoder::kFast ? isal(piece) : zlib(piece);
  }

  Result<void> isal(Piece& piece) {
    isal_memory.resize(ISAL_DEF_LVL3_DEFAULT);
    // What can't be compressed is stored, in blocks of 65,535 bytes with 5 in front of each.
    piece.out.resize(piece.in.size() + piece.in.size() / kIsalRoomShare + kFlushBytes);
    // All of it zero: the init leaves out hist_bits and more, by which the bytes would depend on what the
    // stack held.
    isal_zstream stream{};
    ::isal_deflate_stateless_init(&stream);
    stream.level = kIsalLevel;
    stream.level_buf = isal_memory.data();
    stream.level_buf_size = static_cast<std::uint32_t>(isal_memory.size());
    stream.flush = FULL_FLUSH;
    stream.end_of_stream = piece.is_last ? 1 : 0;
    stream.next_in = reinterpret_cast<std::uint8_t*>(piece.in.data());
    stream.avail_in = static_cast<std::uint32_t>(piece.in.size());
    stream.next_out = reinterpret_cast<std::uint8_t*>(piece.out.data());
    stream.avail_out = static_cast<std::uint32_t>(piece.out.size());
    if (::isal_deflate_stateless(&stream) != COMP_OK || stream.avail_in != 0)
      return fail(EIO, "ISA-L could not compress a piece of the layer");
    piece.out.resize(piece.out.size() - stream.avail_out);
    return {};
  }

  Result<void> zlib(Piece& piece) {
    if (!deflate_ready) {
      if (::deflateInit2(&deflate, kGzipLevel, Z_DEFLATED, kRawDeflate, kMemoryLevel, Z_DEFAULT_STRATEGY) !=
          Z_OK)
        return fail(ENOMEM, "no memory to compress with");
      deflate_ready = true;
    } else {
      ::deflateReset(&deflate);
    }
    piece.out.resize(::deflateBound(&deflate, piece.in.size()) + kFlushBytes);
    deflate.next_in = reinterpret_cast<Bytef*>(piece.in.data());
    deflate.avail_in = static_cast<uInt>(piece.in.size());
    deflate.next_out = reinterpret_cast<Bytef*>(piece.out.data());
    deflate.avail_out = static_cast<uInt>(piece.out.size());
    const int done = ::deflate(&deflate, piece.is_last ? Z_FINISH : Z_FULL_FLUSH);
    if (done != (piece.is_last ? Z_STREAM_END : Z_OK) || deflate.avail_in != 0 || deflate.avail_out == 0)
      return fail(EIO, "zlib could not compress a piece of the layer");
    piece.out.resize(piece.out.size() - deflate.avail_out);
    return {};
  }

  Result<void> zstd_frame(Piece& piece) {
    if (zstd == nullptr) zstd = ZSTD_createCCtx();
    if (zstd == nullptr) return fail(ENOMEM, "no memory to compress with");
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, kZstdLevel);
    piece.out.resize(ZSTD_compressBound(piece.in.size()));
    const std::size_t size =
        ZSTD_compress2(zstd, piece.out.data(), piece.out.size(), piece.in.data(), piece.in.size());
    if (ZSTD_isError(size) != 0)
      return fail(EIO, "zstd could not compress a piece of the layer: ", ZSTD_getErrorName(size));
    piece.out.resize(size);
    return {};
  }
};

SpanCompressor::SpanCompressor(store::Compression compression, WorkerPool& workers, unsigned worker_count,
                               Put put, GzipCoder coder)
    : compression_(compression),
      coder_(coder),
      workers_(workers),
      max_pieces_(kPiecesPerWorker * std::max(worker_count, 1U)),
      put_(std::move(put)) {}

SpanCompressor::~SpanCompressor() {
  std::unique_lock lock(mutex_);
  done_.wait(lock,
             [this] { return std::ranges::all_of(pieces_, [](const auto& piece) { return piece->done; }); });
}

Result<void> SpanCompressor::begin() {
  if (std::exchange(begun_, true) || compression_ != store::Compression::kGzip) return {};
  return put_(bytes_of(kGzipHeader));
}

Result<void> SpanCompressor::push(std::span<const std::byte> bytes) {
  LB_TRY(begin());
  while (!bytes.empty()) {
    if (!filling_) {
      filling_ = std::make_unique<Piece>();
      filling_->in.reserve(kSpanTargetBytes);
    }
    const auto taken =
        bytes.first(std::min<std::size_t>(bytes.size(), kSpanTargetBytes - filling_->in.size()));
    filling_->in.insert(filling_->in.end(), taken.begin(), taken.end());
    bytes = bytes.subspan(taken.size());
    if (filling_->in.size() < kSpanTargetBytes) continue;
    submit(false);
    if (pieces_.size() >= max_pieces_) LB_TRY(write_first());
  }
  return {};
}

Result<void> SpanCompressor::finish() {
  LB_TRY(begin());
  // gzip's last block, and the frame of a stream of nothing, are there in any case.
  const bool needs_one = compression_ == store::Compression::kGzip || (pieces_.empty() && stream_bytes_ == 0);
  if (!filling_ && needs_one) filling_ = std::make_unique<Piece>();
  if (filling_) submit(true);
  while (!pieces_.empty()) LB_TRY(write_first());
  if (compression_ != store::Compression::kGzip) return {};
  std::array<unsigned char, 8> trailer{};
  put_little_endian(trailer.data(), crc_);
  put_little_endian(trailer.data() + 4, static_cast<std::uint32_t>(stream_bytes_));
  return put_(bytes_of(trailer));
}

void SpanCompressor::submit(bool is_last) {
  filling_->is_last = is_last;
  Piece* const piece = filling_.get();
  pieces_.push_back(std::move(filling_));
  workers_.submit([this, piece] { compress(*piece); });
}

std::unique_ptr<SpanCompressor::Context> SpanCompressor::take_context() {
  const std::lock_guard lock(mutex_);
  if (contexts_.empty()) return std::make_unique<Context>();
  auto context = std::move(contexts_.back());
  contexts_.pop_back();
  return context;
}

void SpanCompressor::compress(Piece& piece) {
  auto context = take_context();
  auto result =
      compression_ == store::Compression::kGzip ? context->gzip(piece, coder_) : context->zstd_frame(piece);
  const std::lock_guard lock(mutex_);
  contexts_.push_back(std::move(context));
  piece.result = std::move(result);
  piece.done = true;
  // Under the lock: whoever waits may go, and this object with it, as soon as it is free.
  done_.notify_all();
}

Result<void> SpanCompressor::write_first() {
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return pieces_.front()->done; });
  }
  const auto piece = std::move(pieces_.front());
  pieces_.pop_front();
  LB_TRY(piece->result);
  crc_ =
      static_cast<std::uint32_t>(::crc32_combine(crc_, piece->crc, static_cast<z_off_t>(piece->in.size())));
  stream_bytes_ += piece->in.size();
  return put_(piece->out);
}

}  // namespace layerboot::layer
