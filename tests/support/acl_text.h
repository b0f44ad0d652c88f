// An ACL as the system calls carry it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace layerboot::test {

struct AclEntry {
  std::uint16_t tag = 0;  // ACL_* of <linux/posix_acl.h>
  std::uint16_t permissions = 0;
  std::uint32_t id = 0;
};

inline std::string acl_text(const std::vector<AclEntry>& entries) {
  std::string text("\2\0\0\0", 4);
  const auto put = [&text](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>(value >> (8 * i) & 0xffU));
  };
  for (const auto& entry : entries) {
    put(entry.tag, 2);
    put(entry.permissions, 2);
    put(entry.id, 4);
  }
  return text;
}

/// user::rwx, user:`uid`:`permissions`, group::r-x, mask, other::r--.
inline std::string acl_with_user(std::uint32_t uid, std::uint16_t permissions, std::uint16_t mask) {
  return acl_text(
      {{0x01, 7, ~0U}, {0x02, permissions, uid}, {0x04, 5, ~0U}, {0x10, mask, ~0U}, {0x20, 4, ~0U}});
}

}  // namespace layerboot::test
