// The header of one tar member, in the PAX interchange format. Pure.
//
// Follows POSIX pax(1), "pax Interchange Format"; extended attributes as SCHILY.xattr records, which is what
// Go's archive/tar, GNU tar, libarchive and star read and write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace layerboot::store {

/// One member; views live as long as the call.
struct PaxMember {
  std::string_view name;   // without a '/' at its begin
  std::uint32_t mode = 0;  // with the type bits; ignored for a hard link
  bool hard_link = false;  // `link` names an earlier member
  std::string_view link;   // also a symlink's target
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size_bytes = 0;  // of the data that follows: 0 unless a file
  std::int64_t mtime_sec = 0;
  std::uint32_t mtime_nsec = 0;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::vector<std::pair<std::string_view, std::string_view>> xattrs;
};

/// The blocks before the member's data: the ustar header and, when that can't hold all (long or non-ASCII
/// names, nanoseconds, large numbers, xattrs), an extended one before it. A socket has no place in a tar, nor
/// has an xattr with a '=' in its name: the caller leaves them out.
[[nodiscard]] std::string pax_header(const PaxMember& member);

}  // namespace layerboot::store
