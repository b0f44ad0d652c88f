#include "oci-mount/layer/gzip_header.h"

#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

constexpr unsigned kDeflate = 8;
constexpr unsigned kFlagHeaderCrc = 2;
constexpr unsigned kFlagExtra = 4;
constexpr unsigned kFlagName = 8;
constexpr unsigned kFlagComment = 16;
constexpr unsigned kReservedFlags = 0xe0;
constexpr std::size_t kFixedBytes = 8;  // method, flags, mtime, xfl, os: the magic is read already

}  // namespace

Result<std::size_t> GzipHeaderParser::push(std::span<const std::byte> bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size() && !done()) {
    LB_TRY(push_byte(std::to_integer<unsigned>(bytes[taken])));
    ++taken;
    if (++total_ > kMaxGzipHeaderBytes) {
      return fail(EINVAL, "a gzip header is over the limit of ", kMaxGzipHeaderBytes, " bytes");
    }
  }
  return taken;
}

Result<void> GzipHeaderParser::push_byte(unsigned byte) {
  ++in_part_;
  switch (part_) {
    case Part::kFixed:
      if (in_part_ == 1 && byte != kDeflate)
        return fail(EBADMSG, "a gzip member with the unknown method ", byte);
      if (in_part_ == 2) flags_ = byte;
      if ((flags_ & kReservedFlags) != 0)
        return fail(EBADMSG, "a gzip member with the unknown flags ", flags_);
      if (in_part_ == kFixedBytes) next_part();
      break;
    case Part::kExtraLength:
      extra_bytes_ |= static_cast<std::size_t>(byte) << (8 * (in_part_ - 1));
      if (in_part_ == 2) next_part();
      break;
    case Part::kExtra:
      if (in_part_ == extra_bytes_) next_part();
      break;
    case Part::kName:
    case Part::kComment:
      if (byte == 0) next_part();
      break;
    case Part::kHeaderCrc:
      if (in_part_ == 2) next_part();
      break;
    case Part::kDone:
      break;
  }
  return {};
}

void GzipHeaderParser::next_part() {
  in_part_ = 0;
  const auto has = [this](unsigned flag) { return (flags_ & flag) != 0; };
  switch (part_) {
    case Part::kFixed:
      part_ = Part::kExtraLength;
      if (has(kFlagExtra)) return;
      [[fallthrough]];
    case Part::kExtraLength:
      part_ = Part::kExtra;
      if (has(kFlagExtra) && extra_bytes_ != 0) return;
      [[fallthrough]];
    case Part::kExtra:
      part_ = Part::kName;
      if (has(kFlagName)) return;
      [[fallthrough]];
    case Part::kName:
      part_ = Part::kComment;
      if (has(kFlagComment)) return;
      [[fallthrough]];
    case Part::kComment:
      part_ = Part::kHeaderCrc;
      if (has(kFlagHeaderCrc)) return;
      [[fallthrough]];
    case Part::kHeaderCrc:
    case Part::kDone:
      part_ = Part::kDone;
  }
}

}  // namespace layerboot::layer
