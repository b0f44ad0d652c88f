// One 512-byte tar header, and the records of a PAX header, out of untrusted bytes. Pure.
//
// Reads what Go's archive/tar reads (reader.go, strconv.go), because that is what makes and unpacks
// container images: V7, ustar, star and GNU headers; octal or base-256 numbers; PAX records as POSIX.1-2001
// has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::store {

inline constexpr std::size_t kTarBlockBytes = 512;
using TarBlock = std::span<const std::byte, kTarBlockBytes>;
/// Zero blocks that end a tar.
inline constexpr std::size_t kTarEndBytes = 2 * kTarBlockBytes;

/// How many zero bytes follow data of this size.
[[nodiscard]] constexpr std::size_t tar_padding(std::uint64_t size_bytes) {
  return static_cast<std::size_t>((0 - size_bytes) % kTarBlockBytes);
}

struct TarHeader {
  char type = '0';
  std::string name;
  std::string link;
  std::int64_t mode = 0;
  std::int64_t uid = 0;
  std::int64_t gid = 0;
  std::int64_t size_bytes = 0;
  std::int64_t mtime_sec = 0;
  std::uint32_t mtime_nsec = 0;
  std::int64_t device_major = 0;
  std::int64_t device_minor = 0;
};

[[nodiscard]] bool is_zero_block(TarBlock block);

/// A header's number field, octal or base-256; nothing when it is none.
std::optional<std::int64_t> parse_tar_number(std::string_view field);

/// EBADMSG when the checksum is wrong (as a sum of signed or of unsigned bytes) or a number is none.
Result<TarHeader> parse_tar_header(TarBlock block);

/// How many bytes of data follow the header: none for a type that is a header only, whatever its size field
/// says. EBADMSG for a negative size.
Result<std::uint64_t> tar_data_bytes(const TarHeader& header);

/// The GNU.sparse.* records of a file, as they came: layer/sparse_map.h reads them.
struct PaxSparse {
  std::string major;
  std::string minor;
  std::string name;  // the file's own, in forms 0.1 and 1.0
  std::string size;
  std::string real_size;
  std::string map;  // "offset,length,…", also where offsets and lengths were records of their own
  std::size_t number_records = 0;  // of those
};

/// What PAX records say of the next header. Absent, or with an empty value: the header's own field stands.
struct PaxRecords {
  std::optional<std::string> path;
  std::optional<std::string> linkpath;
  std::optional<std::int64_t> size_bytes;
  std::optional<std::int64_t> uid;
  std::optional<std::int64_t> gid;
  std::optional<std::pair<std::int64_t, std::uint32_t>> mtime;  // seconds, nanoseconds
  std::vector<std::pair<std::string, std::string>> xattrs;      // SCHILY.xattr.*, names without that prefix
  std::optional<PaxSparse> sparse;                              // any GNU.sparse.* record
};

/// EBADMSG when any record is malformed: one skipped in silence could move where the next header is
/// looked for (CVE-2025-62518).
Result<PaxRecords> parse_pax_records(std::string_view text);

/// The records' word over the header's. There is one size and one only, whoever set it.
void apply_pax(TarHeader& header, const PaxRecords& pax);

/// "12.5" or "-3": seconds and nanoseconds; more than nine digits of the fraction are cut off.
std::optional<std::pair<std::int64_t, std::uint32_t>> parse_pax_time(std::string_view text);

}  // namespace layerboot::store
