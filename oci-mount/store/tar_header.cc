#include "oci-mount/store/tar_header.h"

#include <algorithm>
#include <tuple>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/printable.h"

namespace layerboot::store {

namespace {

struct Field {
  std::size_t offset;
  std::size_t size;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr std::size_t kTypeOffset = 156;
constexpr Field kLink{157, 100};
constexpr Field kMagicAndVersion{257, 8};
constexpr Field kDeviceMajor{329, 8};
constexpr Field kDeviceMinor{337, 8};
constexpr Field kUstarPrefix{345, 155};
constexpr Field kStarPrefix{345, 131};
constexpr Field kGnuAccessTime{345, 12};
constexpr Field kGnuChangeTime{357, 12};
constexpr Field kTrailer{508, 4};

enum class Format : std::uint8_t { kV7, kUstar, kStar, kGnu };

std::string_view field_of(TarBlock block, Field field) {
  return as_text(block).substr(field.offset, field.size);
}

std::string_view until_nul(std::string_view text) { return text.substr(0, text.find('\0')); }

std::optional<std::int64_t> parse_octal(std::string_view text) {
  constexpr std::string_view kPadding(" \0", 2);
  const auto first = text.find_first_not_of(kPadding);
  if (first == std::string_view::npos) return 0;
  text = until_nul(text.substr(first, text.find_last_not_of(kPadding) - first + 1));
  const auto value = parse_whole<std::uint64_t>(text, 8);
  return value ? std::optional(static_cast<std::int64_t>(*value)) : std::nullopt;
}

/// Big-endian two's complement with the top bit of the first byte set aside as the mark of this form.
std::optional<std::int64_t> parse_base256(std::string_view text) {
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned invert = (byte_at(0) & 0x40U) != 0 ? 0xffU : 0U;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = byte_at(i) ^ invert;
    if (i == 0) byte &= 0x7fU;
    if (value >> 56U != 0) return std::nullopt;
    value = value << 8U | byte;
  }
  if (value >> 63U != 0) return std::nullopt;
  return static_cast<std::int64_t>(invert != 0 ? ~value : value);
}

std::optional<std::int64_t> parse_number(std::string_view text) {
  if ((static_cast<unsigned char>(text[0]) & 0x80U) != 0) return parse_base256(text);
  return parse_octal(text);
}

bool checksum_fits(TarBlock block) {
  const auto stored = parse_octal(field_of(block, kChecksum));
  if (!stored) return false;
  std::int64_t unsigned_sum = 0;
  std::int64_t signed_sum = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool in_checksum = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
    const auto byte = in_checksum ? std::byte{' '} : block[i];
    unsigned_sum += std::to_integer<std::int64_t>(byte);
    signed_sum += static_cast<std::int8_t>(byte);
  }
  return *stored == unsigned_sum || *stored == signed_sum;
}

Format format_of(TarBlock block) {
  const auto magic = field_of(block, kMagicAndVersion);
  if (magic.substr(0, 6) == std::string_view("ustar\0", 6)) {
    return field_of(block, kTrailer) == std::string_view("tar\0", 4) ? Format::kStar : Format::kUstar;
  }
  return magic == std::string_view("ustar  \0", 8) ? Format::kGnu : Format::kV7;
}

/// Early Go releases wrote long names ustar's way under GNU's magic; their prefix lies where GNU has times.
std::string_view prefix_of(TarBlock block, Format format) {
  switch (format) {
    case Format::kV7:
      return {};
    case Format::kUstar:
      return until_nul(field_of(block, kUstarPrefix));
    case Format::kStar:
      return until_nul(field_of(block, kStarPrefix));
    case Format::kGnu:
      break;
  }
  const auto is_time = [&](Field field) {
    const auto text = field_of(block, field);
    return text[0] == '\0' || parse_number(text).has_value();
  };
  if (is_time(kGnuAccessTime) && is_time(kGnuChangeTime)) return {};
  const auto prefix = until_nul(field_of(block, kUstarPrefix));
  const bool ascii =
      std::all_of(prefix.begin(), prefix.end(), [](char c) { return static_cast<signed char>(c) >= 0; });
  return ascii ? prefix : std::string_view();
}

std::optional<std::int64_t> parse_decimal(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  return parse_whole<std::int64_t>(text);
}

struct PaxRecord {
  std::string_view key;
  std::string_view value;
};

/// Takes "LENGTH KEY=VALUE\n" off the front of `text`.
std::optional<PaxRecord> take_record(std::string_view& text) {
  const auto space = text.find(' ');
  if (space == std::string_view::npos || space == 0) return std::nullopt;
  const auto told = parse_whole<std::size_t>(text.substr(0, space));
  if (!told) return std::nullopt;
  const std::size_t length = *told;
  constexpr std::size_t kShortest = 5;  // "5 k=\n"
  if (length < kShortest || length > text.size() || length < space + 2 || text[length - 1] != '\n')
    return std::nullopt;
  const auto record = text.substr(space + 1, length - space - 2);
  const auto equals = record.find('=');
  if (equals == std::string_view::npos || equals == 0) return std::nullopt;
  text.remove_prefix(length);
  return PaxRecord{record.substr(0, equals), record.substr(equals + 1)};
}

void set_xattr(PaxRecords& pax, std::string_view name, std::string_view value) {
  const auto same =
      std::find_if(pax.xattrs.begin(), pax.xattrs.end(), [&](const auto& x) { return x.first == name; });
  if (same != pax.xattrs.end()) {
    same->second = value;
  } else {
    pax.xattrs.emplace_back(name, value);
  }
}

/// Form 0.0 has an offset and a length as records of their own, in turn; they become form 0.1's one map.
bool apply_sparse_record(PaxRecords& pax, std::string_view key, std::string_view value) {
  constexpr std::string_view kPrefix = "GNU.sparse.";
  if (!pax.sparse) pax.sparse.emplace();
  PaxSparse& sparse = *pax.sparse;
  const auto what = key.substr(kPrefix.size());
  if (what == "offset" || what == "numbytes") {
    const bool is_offset_next = sparse.number_records++ % 2 == 0;
    if (is_offset_next != (what == "offset") || value.empty() || value.find(',') != std::string_view::npos)
      return false;
    if (!sparse.map.empty()) sparse.map += ',';
    sparse.map += value;
    return true;
  }
  if (what == "map") sparse.map = value;
  if (what == "major") sparse.major = value;
  if (what == "minor") sparse.minor = value;
  if (what == "name") sparse.name = value;
  if (what == "size") sparse.size = value;
  if (what == "realsize") sparse.real_size = value;
  return true;
}

/// False when the value does not fit its key.
bool apply_record(PaxRecords& pax, const PaxRecord& record) {
  constexpr std::string_view kXattr = "SCHILY.xattr.";
  const std::string_view key = record.key;
  const std::string_view value = record.value;
  const bool holds_nul = value.find('\0') != std::string_view::npos;
  if (key.find('\0') != std::string_view::npos) return false;
  if (key.starts_with(kXattr)) {
    if (!value.empty()) set_xattr(pax, key.substr(kXattr.size()), value);
    return key.size() > kXattr.size();
  }
  if (key.starts_with("GNU.sparse.")) return apply_sparse_record(pax, key, value) && !holds_nul;
  const auto number_into = [&](std::optional<std::int64_t>& field) {
    field = parse_decimal(value);
    return field.has_value();
  };
  const auto text_into = [&](std::optional<std::string>& field) {
    field = value;
    return !holds_nul;
  };
  // An empty value takes back what an earlier record of the same header said.
  if (key == "path") return value.empty() ? (pax.path.reset(), true) : text_into(pax.path);
  if (key == "linkpath") return value.empty() ? (pax.linkpath.reset(), true) : text_into(pax.linkpath);
  if (key == "size") return value.empty() ? (pax.size_bytes.reset(), true) : number_into(pax.size_bytes);
  if (key == "uid") return value.empty() ? (pax.uid.reset(), true) : number_into(pax.uid);
  if (key == "gid") return value.empty() ? (pax.gid.reset(), true) : number_into(pax.gid);
  if (key == "mtime") {
    pax.mtime = value.empty() ? std::nullopt : parse_pax_time(value);
    return value.empty() || pax.mtime.has_value();
  }
  return true;
}

}  // namespace

std::optional<std::int64_t> parse_tar_number(std::string_view field) { return parse_number(field); }

bool is_zero_block(TarBlock block) {
  return std::all_of(block.begin(), block.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

Result<TarHeader> parse_tar_header(TarBlock block) {
  if (!checksum_fits(block))
    return fail(EBADMSG, "a tar header's checksum is wrong: this is no tar, or a damaged one");
  const Format format = format_of(block);
  TarHeader header;
  bool good = true;
  const auto number = [&](Field field, std::int64_t& into) {
    const auto value = parse_number(field_of(block, field));
    good = good && value.has_value();
    into = value.value_or(0);
  };
  number(kMode, header.mode);
  number(kUid, header.uid);
  number(kGid, header.gid);
  number(kSize, header.size_bytes);
  number(kMtime, header.mtime_sec);
  if (format != Format::kV7) {
    number(kDeviceMajor, header.device_major);
    number(kDeviceMinor, header.device_minor);
  }
  header.type = static_cast<char>(block[kTypeOffset]);
  header.name = until_nul(field_of(block, kName));
  header.link = until_nul(field_of(block, kLink));
  if (const auto prefix = prefix_of(block, format); !prefix.empty())
    header.name = str_cat(prefix, "/", header.name);
  if (!good)
    return fail(EBADMSG, "the tar header of \"", printable(header.name), "\" has a field that is no number");
  return header;
}

Result<PaxRecords> parse_pax_records(std::string_view text) {
  PaxRecords pax;
  while (!text.empty()) {
    const auto record = take_record(text);
    if (!record) return fail(EBADMSG, "a PAX header has a malformed record");
    if (!apply_record(pax, *record)) {
      return fail(EBADMSG, "a PAX header has a record \"", printable(record->key), "\" with a bad value");
    }
  }
  return pax;
}

void apply_pax(TarHeader& header, const PaxRecords& pax) {
  if (pax.path) header.name = *pax.path;
  if (pax.linkpath) header.link = *pax.linkpath;
  if (pax.size_bytes) header.size_bytes = *pax.size_bytes;
  if (pax.uid) header.uid = *pax.uid;
  if (pax.gid) header.gid = *pax.gid;
  if (pax.mtime) std::tie(header.mtime_sec, header.mtime_nsec) = *pax.mtime;
}

std::optional<std::pair<std::int64_t, std::uint32_t>> parse_pax_time(std::string_view text) {
  constexpr std::size_t kNanoDigits = 9;
  constexpr std::uint32_t kNanosPerSecond = 1'000'000'000;
  const auto dot = text.find('.');
  auto seconds = parse_decimal(text.substr(0, dot));
  if (!seconds) return std::nullopt;
  if (dot == std::string_view::npos) return std::pair(*seconds, 0U);
  const auto fraction = text.substr(dot + 1);
  if (fraction.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  std::uint32_t nanos = 0;
  for (std::size_t i = 0; i < kNanoDigits; ++i) {
    nanos = nanos * 10 + (i < fraction.size() ? static_cast<std::uint32_t>(fraction[i] - '0') : 0);
  }
  // "-1.25" is 1.25 s before the epoch: nanoseconds always count forward.
  if (text.starts_with('-') && nanos != 0) {
    if (*seconds == INT64_MIN) return std::nullopt;
    return std::pair(*seconds - 1, kNanosPerSecond - nanos);
  }
  return std::pair(*seconds, nanos);
}

Result<std::uint64_t> tar_data_bytes(const TarHeader& header) {
  if (header.size_bytes < 0)
    return fail(EBADMSG, "\"", printable(header.name), "\" has the size ", header.size_bytes);
  // A directory in the old style, told by its trailing slash, may have a body; a typed one has none.
  const bool header_only = header.type >= '1' && header.type <= '6';
  return header_only ? 0 : static_cast<std::uint64_t>(header.size_bytes);
}

}  // namespace layerboot::store
