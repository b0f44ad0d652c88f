#include "oci-mount/layer/gzip_stream.h"

#include <algorithm>

#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

constexpr std::size_t kTrailerBytes = 8;  // CRC-32 and size

}  // namespace

void GzipStream::start_at_member(std::uint64_t blob_offset) {
  phase_ = Phase::kMagic;
  offset_ = blob_offset;
  first_magic_byte_seen_ = false;
  any_member_seen_ = false;
  empty_members_ = 0;
}

void GzipStream::start_at_block(std::uint64_t blob_offset, unsigned first_bit, const Window* window) {
  window != nullptr ? decoder_.start(*window) : decoder_.start();
  phase_ = first_bit == 0 ? Phase::kBody : Phase::kFirstBits;
  offset_ = blob_offset;
  first_bit_ = first_bit;
  any_member_seen_ = true;
  member_output_bytes_ = 1;  // some of this member's output came before
  empty_members_ = 0;
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
    decoder_.start();
    phase_ = Phase::kBody;
    member_output_bytes_ = 0;
  }
  return Step{taken, 0, Stop::kMore};
}

GzipStream::Step GzipStream::step_first_bits(std::span<const std::byte> in) {
  if (in.empty()) return Step();
  decoder_.prime(std::to_integer<unsigned>(in.front()) >> first_bit_, 8 - first_bit_);
  phase_ = Phase::kBody;
  return Step{1, 0, Stop::kMore};
}

Result<GzipStream::Step> GzipStream::step_body(std::span<const std::byte> in, std::span<std::byte> out) {
  const auto decoded = decoder_.step(in, out);
  if (!decoded) {
    return fail(EBADMSG, "its gzip data are damaged near byte ", offset_ + decoder_.taken_bytes(), ": ",
                decoded.error().text);
  }
  Step step{decoded->consumed, decoded->produced, Stop::kMore};
  member_output_bytes_ += step.produced;
  if (decoded->stop == DeflateDecoder::Stop::kBlockEnd) {
    boundary_ = {(offset_ + step.consumed) * 8 - decoder_.unused_bits(), false};
    step.stop = Stop::kBoundary;
  } else if (decoded->stop == DeflateDecoder::Stop::kStreamEnd) {
    empty_members_ = member_output_bytes_ == 0 ? empty_members_ + 1 : 0;
    if (empty_members_ > kMaxEmptyMembers) {
      return fail(EINVAL, "more than ", kMaxEmptyMembers, " gzip members without a byte: over the limit");
    }
    phase_ = Phase::kTrailer;
    // Its first bytes may have been taken in with the last bits.
    trailer_left_ = kTrailerBytes - decoder_.unused_bits() / 8;
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

Result<void> GzipStream::finish() const {
  const bool whole = phase_ == Phase::kTrailing || (phase_ == Phase::kMagic && any_member_seen_);
  if (!whole) return fail(EBADMSG, "its gzip data end early");
  return {};
}

}  // namespace layerboot::layer
