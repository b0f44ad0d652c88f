// Ways to change a file, and people who do it.
#pragma once

#include <array>
#include <string>

namespace layerboot::caches {

enum class Change {
  kWrite,
  kSyncWrite,
  kDirectWrite,
  kTruncate,
  kOpenTruncating,
  kAllocate,
  kPunchHole,
  kCopyRange,
  kMap,
  kChown,
  kChownNothing,
};
inline constexpr std::array kChangesOfData = {
    Change::kWrite,    Change::kSyncWrite, Change::kDirectWrite, Change::kTruncate, Change::kOpenTruncating,
    Change::kAllocate, Change::kPunchHole, Change::kCopyRange,   Change::kMap,
};
[[nodiscard]] const char* name_of(Change change);

struct Person {
  const char* name;
  unsigned uid;
  unsigned gid;
};
/// Files here belong to the owner and the member's group, which the owner is not in.
inline constexpr Person kRoot{"root", 0, 0};
inline constexpr Person kOwner{"the owner", 1000, 1000};
inline constexpr Person kMember{"a member", 1002, 1001};
inline constexpr Person kOther{"another", 1003, 1003};
inline constexpr std::array kPersons = {kRoot, kOwner, kMember, kOther};

/// As `person` in a process of its own: 0, or the errno. Leaves the bytes of the first page as they were,
/// unless it cuts them off.
[[nodiscard]] int change_as(const Person& person, Change change, const std::string& path);

}  // namespace layerboot::caches
