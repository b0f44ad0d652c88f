#include "oci-mount/store/stream_decoder.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <cstdint>

namespace layerboot::store {

namespace {

std::unexpected<Error> damaged(Compression compression, std::string_view why) {
  return fail(EBADMSG, "its ", compression_name(compression), " data are damaged: ", why);
}
std::unexpected<Error> cut_short(Compression compression) {
  return fail(EBADMSG, "its ", compression_name(compression), " data are cut short");
}
std::unexpected<Error> too_large(Compression compression, std::string_view instead) {
  return fail(E2BIG, "its ", compression_name(compression), " data take more than the limit of ",
              kMaxDecoderBytes, " bytes of memory to decode; compress it ", instead);
}

unsigned at_most_unsigned(std::size_t size) {
  return static_cast<unsigned>(std::min<std::size_t>(size, UINT_MAX));
}

class GzipDecoder final : public StreamDecoder {
 public:
  static Result<std::unique_ptr<StreamDecoder>> create() {
    auto decoder = std::make_unique<GzipDecoder>();
    constexpr int kGzipOnly = 16;
    if (::inflateInit2(&decoder->stream_, MAX_WBITS + kGzipOnly) != Z_OK)
      return fail(ENOMEM, "no memory for zlib");
    return decoder;
  }
  GzipDecoder() = default;
  ~GzipDecoder() override { ::inflateEnd(&stream_); }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;

  Result<Step> decode(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (trailing_) return Step{in.size(), 0};
    // zlib takes no const, and changes nothing.
    stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(in.data()));
    stream_.avail_in = at_most_unsigned(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = at_most_unsigned(out.size());
    const unsigned before_in = stream_.avail_in;
    const unsigned before_out = stream_.avail_out;
    const int result = ::inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_DATA_ERROR && members_ != 0 && stream_.total_in <= kMagicBytes) {
      trailing_ = true;
      return Step{in.size(), 0};
    }
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
      if (result == Z_MEM_ERROR) return fail(ENOMEM, "no memory for zlib");
      return damaged(Compression::kGzip, stream_.msg == nullptr ? "zlib gives no reason" : stream_.msg);
    }
    const Step step{before_in - stream_.avail_in, before_out - stream_.avail_out};
    if (result == Z_STREAM_END) {
      ++members_;
      ::inflateReset(&stream_);
    }
    return step;
  }
  Result<void> finish() override {
    const bool between = members_ != 0 && stream_.total_in < kMagicBytes;
    if (!trailing_ && !between) return cut_short(Compression::kGzip);
    return {};
  }

 private:
  static constexpr unsigned kMagicBytes = 2;

  z_stream stream_{};
  std::uint64_t members_ = 0;
  bool trailing_ = false;
};

class ZstdDecoder final : public StreamDecoder {
 public:
  static Result<std::unique_ptr<StreamDecoder>> create() {
    auto decoder = std::make_unique<ZstdDecoder>();
    if (!decoder->context_) return fail(ENOMEM, "no memory for zstd");
    constexpr int kWindowLog = std::bit_width(kMaxDecoderBytes) - 1;
    ::ZSTD_DCtx_setParameter(decoder->context_.get(), ZSTD_d_windowLogMax, kWindowLog);
    return decoder;
  }

  Result<Step> decode(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (in.empty() && !in_frame_) return Step{};
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer into{out.data(), out.size(), 0};
    const std::size_t left = ::ZSTD_decompressStream(context_.get(), &into, &from);
    if (::ZSTD_isError(left) != 0) {
      if (::ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge)
        return too_large(Compression::kZstd, "without --long or --ultra");
      return damaged(Compression::kZstd, ::ZSTD_getErrorName(left));
    }
    in_frame_ = left != 0;
    return Step{from.pos, into.pos};
  }
  Result<void> finish() override {
    if (in_frame_) return cut_short(Compression::kZstd);
    return {};
  }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ::ZSTD_freeDCtx(context); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> context_{::ZSTD_createDCtx()};
  bool in_frame_ = false;
};

class XzDecoder final : public StreamDecoder {
 public:
  static Result<std::unique_ptr<StreamDecoder>> create() {
    auto decoder = std::make_unique<XzDecoder>();
    if (::lzma_stream_decoder(&decoder->stream_, kMaxDecoderBytes,
                              LZMA_CONCATENATED | LZMA_TELL_UNSUPPORTED_CHECK) != LZMA_OK)
      return fail(ENOMEM, "no memory for liblzma");
    return decoder;
  }
  XzDecoder() = default;
  ~XzDecoder() override { ::lzma_end(&stream_); }
  XzDecoder(const XzDecoder&) = delete;
  XzDecoder& operator=(const XzDecoder&) = delete;

  Result<Step> decode(std::span<const std::byte> in, std::span<std::byte> out) override {
    return code(in, out, LZMA_RUN);
  }
  // Only here it shows that no further stream begins.
  Result<void> finish() override {
    std::byte none{};
    LB_TRY(code({}, {&none, 0}, LZMA_FINISH));
    if (!ended_) return cut_short(Compression::kXz);
    return {};
  }

 private:
  Result<Step> code(std::span<const std::byte> in, std::span<std::byte> out, lzma_action action) {
    stream_.next_in = reinterpret_cast<const std::uint8_t*>(in.data());
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    stream_.avail_out = out.size();
    const lzma_ret result = ::lzma_code(&stream_, action);
    const Step step{in.size() - stream_.avail_in, out.size() - stream_.avail_out};
    switch (result) {
      case LZMA_OK:
      case LZMA_BUF_ERROR:
        return step;
      case LZMA_STREAM_END:
        ended_ = true;
        return step;
      case LZMA_MEM_ERROR:
        return fail(ENOMEM, "no memory for liblzma");
      case LZMA_MEMLIMIT_ERROR:
        return too_large(Compression::kXz, "with xz -9 or less");
      case LZMA_UNSUPPORTED_CHECK:
        return damaged(Compression::kXz, "they have a checksum of an unknown kind");
      case LZMA_OPTIONS_ERROR:
        return damaged(Compression::kXz, "they need what liblzma does not know");
      case LZMA_FORMAT_ERROR:
        return damaged(Compression::kXz, "what should be a stream's begin is none");
      default:
        return damaged(Compression::kXz, "a checksum or a structure is wrong");
    }
  }

  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool ended_ = false;
};

class Bzip2Decoder final : public StreamDecoder {
 public:
  static Result<std::unique_ptr<StreamDecoder>> create() {
    auto decoder = std::make_unique<Bzip2Decoder>();
    LB_TRY(decoder->begin());
    return decoder;
  }
  Bzip2Decoder() = default;
  ~Bzip2Decoder() override { ::BZ2_bzDecompressEnd(&stream_); }
  Bzip2Decoder(const Bzip2Decoder&) = delete;
  Bzip2Decoder& operator=(const Bzip2Decoder&) = delete;

  Result<Step> decode(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (trailing_) return Step{in.size(), 0};
    // libbz2 takes no const, and changes nothing.
    stream_.next_in = const_cast<char*>(reinterpret_cast<const char*>(in.data()));
    stream_.avail_in = at_most_unsigned(in.size());
    stream_.next_out = reinterpret_cast<char*>(out.data());
    stream_.avail_out = at_most_unsigned(out.size());
    const unsigned before_in = stream_.avail_in;
    const unsigned before_out = stream_.avail_out;
    const int result = ::BZ2_bzDecompress(&stream_);
    if (result == BZ_DATA_ERROR_MAGIC && streams_ != 0 && stream_.total_in_lo32 <= kMagicBytes &&
        stream_.total_in_hi32 == 0) {
      trailing_ = true;
      return Step{in.size(), 0};
    }
    if (result == BZ_MEM_ERROR) return fail(ENOMEM, "no memory for libbz2");
    if (result != BZ_OK && result != BZ_STREAM_END)
      return damaged(Compression::kBzip2, "a checksum or a structure is wrong");
    const Step step{before_in - stream_.avail_in, before_out - stream_.avail_out};
    if (result == BZ_STREAM_END) {
      ++streams_;
      ::BZ2_bzDecompressEnd(&stream_);
      LB_TRY(begin());
    }
    return step;
  }
  Result<void> finish() override {
    const bool between = streams_ != 0 && stream_.total_in_lo32 < kMagicBytes && stream_.total_in_hi32 == 0;
    if (!trailing_ && !between) return cut_short(Compression::kBzip2);
    return {};
  }

 private:
  static constexpr unsigned kMagicBytes = 4;  // "BZh9"

  Result<void> begin() {
    stream_ = {};
    if (::BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) return fail(ENOMEM, "no memory for libbz2");
    return {};
  }

  bz_stream stream_{};
  std::uint64_t streams_ = 0;
  bool trailing_ = false;
};

}  // namespace

Result<std::unique_ptr<StreamDecoder>> StreamDecoder::create(Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return GzipDecoder::create();
    case Compression::kZstd:
      return ZstdDecoder::create();
    case Compression::kXz:
      return XzDecoder::create();
    case Compression::kBzip2:
      return Bzip2Decoder::create();
    case Compression::kNone:
      break;
  }
  return fail(EINVAL, "there is nothing to decode");
}

}  // namespace layerboot::store
