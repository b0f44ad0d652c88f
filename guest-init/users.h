// Who a program runs as: an image's User, looked up in the image's own passwd and group files. Pure.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace guest_init {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary
  std::string name = "root";
  std::string home = "/root";
};

/// Takes "", "name", "uid", "name:group", "uid:gid" and mixtures, as the OCI image spec has them. A number
/// needs no entry; a name does. Supplementary groups are the ones that list the name, unless a group was
/// given. False, with `why`, when a name is not known or a number is out of range.
bool find_identity(std::string_view spec, std::string_view passwd, std::string_view group, Identity& identity,
                   std::string& why);

}  // namespace guest_init
