#include "oci-mount/overlay/acl.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <algorithm>
#include <cstring>

#include "oci-mount/base/mode_bits.h"

namespace layerboot::overlay {

namespace {

constexpr std::uint32_t kAllPermissions = 07;

// The form is little-endian, as are all hosts that this is built for.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
static_assert(sizeof(posix_acl_xattr_header) == 4);
static_assert(sizeof(posix_acl_xattr_entry) == 8);

/// Where in the one right order an entry stands; 0 for a tag that is none.
int rank(std::uint16_t tag) {
  switch (tag) {
    case ACL_USER_OBJ:
      return 1;
    case ACL_USER:
      return 2;
    case ACL_GROUP_OBJ:
      return 3;
    case ACL_GROUP:
      return 4;
    case ACL_MASK:
      return 5;
    case ACL_OTHER:
      return 6;
    default:
      return 0;
  }
}

bool is_named(std::uint16_t tag) { return tag == ACL_USER || tag == ACL_GROUP; }

}  // namespace

Acl Acl::of_mode(std::uint32_t mode) {
  const auto bits = [mode](unsigned shift) {
    return static_cast<std::uint16_t>((mode >> shift) & kAllPermissions);
  };
  constexpr auto kNobody = static_cast<std::uint32_t>(ACL_UNDEFINED_ID);
  Acl acl;
  acl.entries_ = {
      {ACL_USER_OBJ, bits(6), kNobody}, {ACL_GROUP_OBJ, bits(3), kNobody}, {ACL_OTHER, bits(0), kNobody}};
  return acl;
}

std::optional<Acl> Acl::parse(std::string_view xattr) {
  posix_acl_xattr_header header{};
  if (xattr.size() < sizeof(header)) return std::nullopt;
  std::memcpy(&header, xattr.data(), sizeof(header));
  xattr.remove_prefix(sizeof(header));
  if (header.a_version != POSIX_ACL_XATTR_VERSION || xattr.size() % sizeof(posix_acl_xattr_entry) != 0) {
    return std::nullopt;
  }
  Acl acl;
  int last_rank = 0;
  bool named = false;
  bool masked = false;
  unsigned classes = 0;
  for (; !xattr.empty(); xattr.remove_prefix(sizeof(posix_acl_xattr_entry))) {
    posix_acl_xattr_entry raw{};
    std::memcpy(&raw, xattr.data(), sizeof(raw));
    const Entry entry{raw.e_tag, raw.e_perm, raw.e_id};
    const int here = rank(entry.tag);
    if (here == 0 || here < last_rank || (here == last_rank && !is_named(entry.tag))) return std::nullopt;
    if ((entry.permissions & ~kAllPermissions) != 0) return std::nullopt;
    last_rank = here;
    named = named || is_named(entry.tag);
    masked = masked || entry.tag == ACL_MASK;
    if (!is_named(entry.tag) && entry.tag != ACL_MASK) ++classes;
    acl.entries_.push_back(entry);
  }
  if (classes != 3 || (named && !masked)) return std::nullopt;
  return acl;
}

std::string Acl::text() const {
  const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
  std::string text(reinterpret_cast<const char*>(&header), sizeof(header));
  for (const Entry& entry : entries_) {
    const posix_acl_xattr_entry raw{entry.tag, entry.permissions, entry.id};
    text.append(reinterpret_cast<const char*>(&raw), sizeof(raw));
  }
  return text;
}

Acl::Entry& Acl::entry(std::uint16_t tag) {
  return *std::ranges::find_if(entries_, [tag](const Entry& entry) { return entry.tag == tag; });
}

Acl::Entry& Acl::group_class() {
  const auto mask = std::ranges::find_if(entries_, [](const Entry& entry) { return entry.tag == ACL_MASK; });
  return mask != entries_.end() ? *mask : entry(ACL_GROUP_OBJ);
}

std::uint32_t Acl::permissions() const {
  Acl copy = *this;
  return static_cast<std::uint32_t>(copy.entry(ACL_USER_OBJ).permissions << 6 |
                                    copy.group_class().permissions << 3 | copy.entry(ACL_OTHER).permissions);
}

void Acl::set_permissions(std::uint32_t mode) {
  entry(ACL_USER_OBJ).permissions = static_cast<std::uint16_t>(mode >> 6 & kAllPermissions);
  group_class().permissions = static_cast<std::uint16_t>(mode >> 3 & kAllPermissions);
  entry(ACL_OTHER).permissions = static_cast<std::uint16_t>(mode & kAllPermissions);
}

std::uint32_t Acl::restrict_for_new_object(std::uint32_t mode) {
  const std::uint32_t both = permissions() & mode & kAccessBits;
  set_permissions(both);
  return (mode & ~kAccessBits) | both;
}

}  // namespace layerboot::overlay
