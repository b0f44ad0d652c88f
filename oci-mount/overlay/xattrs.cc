// Extended attributes of merged objects.
#include <sys/stat.h>
#include <sys/xattr.h>

#include <climits>

#include "oci-mount/overlay/acl.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

Result<std::string> Overlay::getxattr(NodeId id, std::string_view name) {
  LB_ASSIGN(const std::string host_name, host_xattr_name(keeping(), name));
  if (untouched(id)) return lower_.getxattr(static_cast<tree::NodeId>(id), name);
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find(id));
  if (!ref.node || !ref.node->in_upper) return lower_.getxattr(ref.lower, name);
  LB_ASSIGN(const HeldPlace place, place_of(ref.node));
  LB_ASSIGN(auto value, get_xattr_at(place.get(), host_name));
  if (!value) return fail(ENODATA);
  return *std::move(value);
}

Result<std::string> Overlay::listxattr(NodeId id) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find(id));
  if (!ref.node || !ref.node->in_upper) return lower_.listxattr(ref.lower);
  std::string names;
  LB_ASSIGN(const HeldPlace place, place_of(ref.node));
  LB_ASSIGN(const auto host_names, list_xattrs_at(place.get()));
  for (const auto& host_name : host_names) {
    if (const auto name = guest_xattr_name(keeping(), host_name); name) names.append(*name).push_back('\0');
  }
  return names;
}

/// What the host's kernel would do for an object that is one of its own.
Result<void> Overlay::set_acl(const NodePtr& node, Place place, std::string_view name, std::string_view value,
                              bool kill_sgid) {
  const auto acl = Acl::parse(value);
  if (!acl) return fail(EINVAL);
  if (S_ISLNK(node->type)) return fail(EOPNOTSUPP);
  const bool is_default = name == kDefaultAclXattr;
  if (is_default && !node->is_directory()) return fail(EACCES);
  LB_ASSIGN(const std::string host_name, host_xattr_name(keeping(), name));
  if (is_default) {
    node->default_acl.reset();
    return set_xattr_at(place, host_name, value, 0);
  }
  LB_ASSIGN(const Attr before, attr_of(*node));
  if (keeping() == Keeping::kNative || !acl->is_minimal()) {
    LB_TRY(set_xattr_at(place, host_name, value, 0));
  } else if (auto gone = remove_xattr_at(place, host_name); !gone && gone.error().code != ENODATA) {
    return gone;
  }
  Nature nature{.mode = (before.mode & ~0777U) | acl->permissions(),
                .uid = before.uid,
                .gid = before.gid,
                .rdev = before.rdev};
  if (kill_sgid) nature.mode &= ~static_cast<std::uint32_t>(S_ISGID);
  return set_nature(*node, place, nature, Owner::kStays);
}

Task<Result<void>> Overlay::setxattr(Reactor& reactor, NodeId id, std::string_view name,
                                     std::string_view value, std::uint32_t flags) {
  LB_CO_ASSIGN(const std::string host_name, host_xattr_name(keeping(), name));
  if (value.size() > XATTR_SIZE_MAX) co_return fail(E2BIG);
  const bool kill_sgid = (flags & kXattrKillSgid) != 0;
  flags &= ~kXattrKillSgid;
  if ((flags & ~static_cast<std::uint32_t>(XATTR_CREATE | XATTR_REPLACE)) != 0) co_return fail(EINVAL);
  auto copied = co_await copy_up(reactor, id, kNoData);
  if (!copied) co_return std::unexpected(copied.error());
  const std::lock_guard lock(mutex_);
  const NodePtr& node = copied->node();
  // As every host has it, but its body may be of another type.
  if (name.starts_with("user.") && !node->is_regular() && !node->is_directory()) co_return fail(EPERM);
  LB_CO_ASSIGN(const HeldPlace place, place_of(node));
  LB_CO_ASSIGN(const auto reserved, quota_.reserve(value.size() + kXattrBlockBytes, 0));
  auto set = is_acl_xattr(name) ? set_acl(node, place.get(), name, value, kill_sgid)
                                : set_xattr_at(place.get(), host_name, value, static_cast<int>(flags));
  if (name == kCapabilityXattr) {
    node->no_capability = false;
    if (node->filling && set) node->filling->capability = value;
  }
  node->attr_valid = false;
  LB_CO_TRY(attr_of(*node));  // what it took is booked at once
  co_return set;
}

Task<Result<void>> Overlay::removexattr(Reactor& reactor, NodeId id, std::string_view name) {
  LB_CO_ASSIGN(const std::string host_name, host_xattr_name(keeping(), name));
  {
    auto present = getxattr(id, name);
    // Without an ACL an object is as it is to be.
    if (!present && present.error().code == ENODATA && is_acl_xattr(name)) co_return Result<void>();
    if (!present) co_return std::unexpected(present.error());
  }
  auto copied = co_await copy_up(reactor, id, kNoData);
  if (!copied) co_return std::unexpected(copied.error());
  const std::lock_guard lock(mutex_);
  const NodePtr& node = copied->node();
  LB_CO_ASSIGN(const HeldPlace place, place_of(node));
  if (name == kDefaultAclXattr) node->default_acl.reset();
  auto removed = remove_xattr_at(place.get(), host_name);
  if (name == kCapabilityXattr && node->filling) node->filling->capability.reset();
  node->attr_valid = false;
  LB_CO_TRY(attr_of(*node));
  co_return removed;
}

}  // namespace layerboot::overlay
