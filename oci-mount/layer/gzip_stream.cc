#include "oci-mount/layer/gzip_stream.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

constexpr std::size_t kTrailerBytes = 8;  // CRC-32 and size
constexpr int kRawDeflate = -15;
// zlib's data_type after inflate(): see inflate in zlib.h.
constexpr int kUnusedBitsMask = 7;
constexpr int kLastBlock = 64;
constexpr int kAtBoundary = 128;

unsigned piece_size(std::size_t size) {
  return static_cast<unsigned>(std::min<std::size_t>(size, std::numeric_limits<unsigned>::max() / 2));
}

}  // namespace

struct GzipStream::Zlib {
  z_stream stream{};
  bool ready = false;
  ~Zlib() {
    if (ready) ::inflateEnd(&stream);
  }
};

GzipStream::GzipStream() : zlib_(std::make_unique<Zlib>()) {}
GzipStream::~GzipStream() = default;

Result<std::unique_ptr<GzipStream>> GzipStream::create() {
  std::unique_ptr<GzipStream> stream(new GzipStream);
  if (::inflateInit2(&stream->zlib_->stream, kRawDeflate) != Z_OK)
    return fail(ENOMEM, "zlib gives no decoder");
  stream->zlib_->ready = true;
  return stream;
}

Result<void> GzipStream::reset_zlib() {
  if (::inflateReset(&zlib_->stream) != Z_OK) return fail(EIO, "zlib can't be reset");
  return {};
}

Result<void> GzipStream::start_at_member(std::uint64_t blob_offset) {
  phase_ = Phase::kMagic;
  offset_ = blob_offset;
  first_magic_byte_seen_ = false;
  any_member_seen_ = false;
  empty_members_ = 0;
  return {};
}

Result<void> GzipStream::start_at_block(std::uint64_t blob_offset, unsigned first_bit, const Window* window) {
  LB_TRY(reset_zlib());
  phase_ = first_bit == 0 ? Phase::kBody : Phase::kFirstBits;
  offset_ = blob_offset;
  first_bit_ = first_bit;
  any_member_seen_ = true;
  member_output_bytes_ = 1;  // some of this member's output came before
  empty_members_ = 0;
  if (window != nullptr &&
      ::inflateSetDictionary(&zlib_->stream, reinterpret_cast<const Bytef*>(window->data()), kWindowBytes) !=
          Z_OK) {
    return fail(EIO, "zlib does not take a window");
  }
  return {};
}

Result<GzipStream::Step> GzipStream::step(std::span<const std::byte> in, std::span<std::byte> out) {
  Step total;
  for (;;) {
    const auto rest = in.subspan(total.consumed);
    const Phase phase_before = phase_;
    Result<Step> step = Step();
    switch (phase_) {
      case Phase::kMagic:
        step = step_magic(rest);
        break;
      case Phase::kHeader:
        step = step_header(rest);
        break;
      case Phase::kFirstBits:
        step = step_first_bits(rest);
        break;
      case Phase::kBody:
        step = step_body(rest, out.subspan(total.produced));
        break;
      case Phase::kTrailer:
        step = step_trailer(rest);
        break;
      case Phase::kTrailing:
        step = Step{rest.size(), 0, Stop::kTrailing};
        break;
    }
    if (!step) return step;
    total.consumed += step->consumed;
    total.produced += step->produced;
    total.stop = step->stop;
    offset_ += step->consumed;
    if (step->stop != Stop::kMore) return total;
    if (step->consumed == 0 && step->produced == 0 && phase_ == phase_before) return total;
  }
}

Result<GzipStream::Step> GzipStream::step_magic(std::span<const std::byte> in) {
  if (in.empty()) return Step();
  const std::byte expected = first_magic_byte_seen_ ? kGzipMagic2 : kGzipMagic1;
  if (in.front() != expected) {
    if (!any_member_seen_) return fail(EBADMSG, "it does not begin as gzip does");
    phase_ = Phase::kTrailing;
    return Step{0, 0, Stop::kTrailing};
  }
  if (!first_magic_byte_seen_) {
    first_magic_byte_seen_ = true;
    return Step{1, 0, Stop::kMore};
  }
  first_magic_byte_seen_ = false;
  any_member_seen_ = true;
  header_.reset();
  phase_ = Phase::kHeader;
  boundary_ = {(offset_ - 1) * 8, true};
  return Step{1, 0, Stop::kBoundary};
}

Result<GzipStream::Step> GzipStream::step_header(std::span<const std::byte> in) {
  LB_ASSIGN(const std::size_t taken, header_.push(in));
  if (header_.done()) {
    LB_TRY(reset_zlib());
    phase_ = Phase::kBody;
    member_output_bytes_ = 0;
  }
  return Step{taken, 0, Stop::kMore};
}

Result<GzipStream::Step> GzipStream::step_first_bits(std::span<const std::byte> in) {
  if (in.empty()) return Step();
  const int bits = static_cast<int>(8 - first_bit_);
  if (::inflatePrime(&zlib_->stream, bits,
                     std::to_integer<int>(in.front() >> static_cast<int>(first_bit_))) != Z_OK) {
    return fail(EIO, "zlib does not take single bits");
  }
  phase_ = Phase::kBody;
  return Step{1, 0, Stop::kMore};
}

Result<GzipStream::Step> GzipStream::step_body(std::span<const std::byte> in, std::span<std::byte> out) {
  z_stream& z = zlib_->stream;
  z.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(in.data()));  // zlib reads only
  z.avail_in = piece_size(in.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = piece_size(out.size());
  const unsigned in_before = z.avail_in;
  const unsigned out_before = z.avail_out;
  const int status = ::inflate(&z, Z_BLOCK);
  Step step{in_before - z.avail_in, out_before - z.avail_out, Stop::kMore};
  member_output_bytes_ += step.produced;
  if (status == Z_STREAM_END) {
    empty_members_ = member_output_bytes_ == 0 ? empty_members_ + 1 : 0;
    if (empty_members_ > kMaxEmptyMembers) {
      return fail(EINVAL, "more than ", kMaxEmptyMembers, " gzip members without a byte: over the limit");
    }
    phase_ = Phase::kTrailer;
    trailer_left_ = kTrailerBytes;
    return step;
  }
  if (status != Z_OK && status != Z_BUF_ERROR) {
    return fail(EBADMSG, "its gzip data are damaged near byte ", offset_ + step.consumed,
                z.msg != nullptr ? ": " : "", z.msg != nullptr ? z.msg : "");
  }
  if (status == Z_OK && (z.data_type & kAtBoundary) != 0 && (z.data_type & kLastBlock) == 0) {
    boundary_ = {(offset_ + step.consumed) * 8 - static_cast<unsigned>(z.data_type & kUnusedBitsMask), false};
    step.stop = Stop::kBoundary;
  }
  return step;
}

GzipStream::Step GzipStream::step_trailer(std::span<const std::byte> in) {
  const std::size_t taken = std::min(in.size(), trailer_left_);
  trailer_left_ -= taken;
  if (trailer_left_ == 0) {
    phase_ = Phase::kMagic;
    end_offset_ = offset_ + taken;
  }
  return {taken, 0, Stop::kMore};
}

std::size_t GzipStream::copy_window(Window& window) const {
  uInt length = 0;
  ::inflateGetDictionary(&zlib_->stream, reinterpret_cast<Bytef*>(window.data()), &length);
  if (length < kWindowBytes) {
    std::memmove(window.data() + (kWindowBytes - length), window.data(), length);
    std::memset(window.data(), 0, kWindowBytes - length);
  }
  return length;
}

Result<void> GzipStream::finish() const {
  const bool whole = phase_ == Phase::kTrailing || (phase_ == Phase::kMagic && any_member_seen_);
  if (!whole) return fail(EBADMSG, "its gzip data end early");
  return {};
}

}  // namespace layerboot::layer
