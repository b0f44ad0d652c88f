// POSIX ACLs in the form that the system calls carry them: <linux/posix_acl_xattr.h>. Follows fs/posix_acl.c
// of Linux. Values and pure functions over bytes: no lock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace layerboot::overlay {

inline constexpr std::string_view kAccessAclXattr = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclXattr = "system.posix_acl_default";

[[nodiscard]] inline bool is_acl_xattr(std::string_view name) {
  return name == kAccessAclXattr || name == kDefaultAclXattr;
}

/// As the value of an attribute: there is none, whatever a new object has inherited (fs/posix_acl.c,
/// posix_acl_from_xattr()).
inline constexpr std::string_view kNoAcl("\2\0\0\0", 4);

class Acl {
 public:
  /// Nothing for bytes that are no well-formed ACL: version 2, entries in their order, each class that has to
  /// be there once, a mask where there are named entries.
  static std::optional<Acl> parse(std::string_view xattr);
  /// What permission bits say, and no more.
  static Acl of_mode(std::uint32_t mode);
  [[nodiscard]] std::string text() const;

  /// Says no more than permission bits do: it need not be stored.
  [[nodiscard]] bool is_minimal() const { return entries_.size() == 3; }
  /// The permission bits (0777) that it stands for: the group's are those of the mask.
  [[nodiscard]] std::uint32_t permissions() const;
  /// chmod(2): the permission bits become the owner's, the mask's (or group's) and the others' entries.
  void set_permissions(std::uint32_t mode);
  /// As a default ACL becomes the access ACL of an object made with `mode`: takes from each what the other
  /// does not have. Gives the object's mode.
  std::uint32_t restrict_for_new_object(std::uint32_t mode);

 private:
  struct Entry {
    std::uint16_t tag = 0;
    std::uint16_t permissions = 0;
    std::uint32_t id = 0;
  };

  /// The entry that the group's permission bits stand for.
  Entry& group_class();
  Entry& entry(std::uint16_t tag);

  std::vector<Entry> entries_;
};

}  // namespace layerboot::overlay
