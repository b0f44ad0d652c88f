#include "oci-mount/overlay/marks.h"

#include <algorithm>
#include <array>

#include "oci-mount/base/path_rules.h"
#include "oci-mount/overlay/acl.h"

namespace layerboot::overlay {

namespace {

constexpr std::string_view kPrivate = "trusted.overlay.";
constexpr std::string_view kEscaped = "trusted.overlay.overlay.";
constexpr std::string_view kRecordedPrefix = "user.overlay.layerboot.";
/// Names that mean something to us, or to containers/storage, on an ordinary user's files.
constexpr std::array<std::string_view, 2> kReservedUser = {"user.overlay.", "user.containers."};
/// XFS shows its ACLs by these names as well (fs/xfs/xfs_xattr.c): set by them, an ACL would not change the
/// mode, and an image made of the upper would have them as plain attributes.
constexpr std::string_view kXfsAcls = "trusted.SGI_ACL_";
constexpr std::array<std::string_view, 3> kServed = {"user.", "security.", "trusted."};

bool is_plain_user(std::string_view name) {
  return name.starts_with("user.") && std::ranges::none_of(kReservedUser, [&](std::string_view reserved) {
           return name.starts_with(reserved);
         });
}

std::string kept_name(Keeping keeping, std::string_view guest_name) {
  if (keeping == Keeping::kRecorded) {
    return is_plain_user(guest_name) ? std::string(guest_name) : str_cat(kRecordedPrefix, guest_name);
  }
  if (!guest_name.starts_with(kPrivate)) return std::string(guest_name);
  return str_cat(kEscaped, guest_name.substr(kPrivate.size()));
}

}  // namespace

bool is_served_xattr(std::string_view guest_name) {
  if (is_acl_xattr(guest_name)) return true;
  if (guest_name.starts_with(kXfsAcls)) return false;
  return std::ranges::any_of(kServed, [&](std::string_view prefix) {
    return guest_name.starts_with(prefix) && guest_name.size() > prefix.size();
  });
}

Result<std::string> host_xattr_name(Keeping keeping, std::string_view guest_name) {
  if (guest_name.empty() || guest_name.find('\0') != std::string_view::npos) return fail(EINVAL);
  if (guest_name.size() > kMaxXattrNameBytes) return fail(ERANGE);
  if (!is_served_xattr(guest_name)) return fail(EOPNOTSUPP);
  auto kept = kept_name(keeping, guest_name);
  if (kept.size() > kMaxXattrNameBytes) return fail(ERANGE);
  return kept;
}

std::optional<std::string> guest_xattr_name(Keeping keeping, std::string_view host_name) {
  std::optional<std::string> name;
  if (keeping == Keeping::kRecorded) {
    if (host_name.starts_with(kRecordedPrefix)) {
      name = host_name.substr(kRecordedPrefix.size());
    } else if (is_plain_user(host_name)) {
      name = host_name;
    }
  } else if (host_name.starts_with(kEscaped)) {
    name = str_cat(kPrivate, host_name.substr(kEscaped.size()));
  } else if (!host_name.starts_with(kPrivate)) {
    name = host_name;
  }
  if (!name || !is_served_xattr(*name)) return std::nullopt;
  return name;
}

}  // namespace layerboot::overlay
