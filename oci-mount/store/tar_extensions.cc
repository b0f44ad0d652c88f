#include "oci-mount/store/tar_extensions.h"

#include <utility>

namespace layerboot::store {

namespace {

constexpr char kPaxHeader = 'x';
constexpr char kPaxGlobalHeader = 'g';
constexpr char kGnuLongName = 'L';
constexpr char kGnuLongLink = 'K';

}  // namespace

bool TarExtensions::is_extension(char type) {
  return type == kPaxHeader || type == kPaxGlobalHeader || type == kGnuLongName || type == kGnuLongLink;
}

Result<std::uint64_t> TarExtensions::text_bytes(const TarHeader& header) {
  LB_ASSIGN(const std::uint64_t size_bytes, tar_data_bytes(header));
  if (size_bytes > kMaxExtendedHeaderBytes) {
    return fail(EINVAL, "an extended tar header of ", size_bytes, " bytes is over the limit of ",
                kMaxExtendedHeaderBytes);
  }
  return size_bytes;
}

Result<void> TarExtensions::add(char type, std::string_view text) {
  switch (type) {
    case kGnuLongName:
      long_name_ = text.substr(0, text.find('\0'));
      break;
    case kGnuLongLink:
      long_link_ = text.substr(0, text.find('\0'));
      break;
    case kPaxHeader: {
      LB_ASSIGN(pax_, parse_pax_records(text));
      break;
    }
    default: {
      LB_TRY(parse_pax_records(text));
      return {};
    }
  }
  pending_ = true;
  return {};
}

PaxRecords TarExtensions::complete(TarHeader& header) {
  apply_pax(header, pax_);
  if (!long_name_.empty()) header.name = std::exchange(long_name_, {});
  if (!long_link_.empty()) header.link = std::exchange(long_link_, {});
  pending_ = false;
  return std::exchange(pax_, {});
}

}  // namespace layerboot::store
