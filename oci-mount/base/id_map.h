// IdMap: which users and groups of this machine a guest's are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot {

/// `count` ids, from `guest` on, which are those from `host` on.
struct IdRange {
  std::uint32_t guest = 0;
  std::uint32_t host = 0;
  std::uint32_t count = 1;
  friend bool operator==(const IdRange&, const IdRange&) = default;
};

/// One direction of numbers; users and groups have one each. Immutable.
class IdRanges {
 public:
  static constexpr std::size_t kMaxRanges = 32;
  /// Whom a guest sees where it has no number for somebody. Linux shows it as 65534 ("nobody") and takes it
  /// for no user at all, as it has it for mapped mounts; 65534 itself would make the guest's own user of that
  /// number the owner of all such files (include/linux/uidgid.h: INVALID_UID).
  static constexpr std::uint32_t kNobody = ~0U;

  /// Every id is itself.
  IdRanges() : IdRanges({{0, 0, kEveryId}}) {}
  /// REQUIRES: no range overlaps another, on either side.
  explicit IdRanges(std::vector<IdRange> ranges) : ranges_(std::move(ranges)) {}

  /// EOVERFLOW where the guest's id is nobody's here, as Linux has it for mapped mounts.
  [[nodiscard]] Result<std::uint32_t> to_host(std::uint32_t guest) const;
  [[nodiscard]] bool knows_host(std::uint32_t host) const { return to_guest(host) != kNobody; }
  [[nodiscard]] std::uint32_t to_guest(std::uint32_t host) const;

  friend bool operator==(const IdRanges&, const IdRanges&) = default;

 private:
  static constexpr std::uint32_t kEveryId = ~0U;  // but the last number, which means none

  std::vector<IdRange> ranges_;
};

struct IdMap {
  IdRanges users;
  IdRanges groups;
  friend bool operator==(const IdMap&, const IdMap&) = default;
};

/// "USERS[:GROUPS]", each HOST (whose the guest's root is) or GUEST-HOST-COUNT, or several of these with '+'
/// between them; USERS alone is for both. EINVAL, with what is wrong, for anything else.
Result<IdMap> parse_id_map(std::string_view text);

}  // namespace layerboot
