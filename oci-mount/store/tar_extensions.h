// What comes before a tar member's header to say more of it: PAX records, GNU's long names. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::store {

inline constexpr std::size_t kMaxExtendedHeaderBytes = 1U << 20U;  // one PAX header or GNU long name

/// Collects the extension headers before a member, as Go's archive/tar does; holds at most two long names and
/// one member's PAX records.
class TarExtensions {
 public:
  [[nodiscard]] static bool is_extension(char type);
  /// How many bytes an extension's header says its text has; EINVAL over kMaxExtendedHeaderBytes.
  static Result<std::uint64_t> text_bytes(const TarHeader& header);

  /// Takes the text of an extension header of this type. Global PAX records are checked and forgotten: they
  /// belong to the archive, not to a member.
  Result<void> add(char type, std::string_view text);
  /// Whether extensions wait for their member.
  [[nodiscard]] bool pending() const { return pending_; }
  /// The member's header has come: writes what they say of it into `header`, gives its PAX records, and is
  /// empty again.
  PaxRecords complete(TarHeader& header);

 private:
  PaxRecords pax_;
  std::string long_name_;
  std::string long_link_;
  bool pending_ = false;
};

}  // namespace layerboot::store
