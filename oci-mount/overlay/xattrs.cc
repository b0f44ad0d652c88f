// Extended attributes of merged objects.
#include <sys/xattr.h>

#include <climits>

#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

namespace {

/// Room that an attribute may take outside the inode.
constexpr std::uint64_t kXattrBlockBytes = 4096;

}  // namespace

Result<std::string> Overlay::getxattr(NodeId id, std::string_view name) {
  LB_ASSIGN(const std::string host_name, host_xattr_name(name));
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find(id));
  if (ref.node && ref.node->in_upper) {
    LB_ASSIGN(const HeldPlace place, place_of(ref.node));
    LB_ASSIGN(auto value, get_xattr_at(place.get(), host_name));
    if (!value) return fail(ENODATA);
    return *std::move(value);
  }
  const auto value = lower_.tree.xattr(ref.lower, name);
  if (!value) return fail(ENODATA);
  return std::string(*value);
}

Result<std::string> Overlay::listxattr(NodeId id) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find(id));
  std::string names;
  if (ref.node && ref.node->in_upper) {
    LB_ASSIGN(const HeldPlace place, place_of(ref.node));
    LB_ASSIGN(const auto host_names, list_xattrs_at(place.get()));
    for (const auto& host_name : host_names) {
      if (const auto name = guest_xattr_name(host_name); name) names.append(*name).push_back('\0');
    }
    return names;
  }
  for (const auto& xattr : lower_.tree.xattrs(ref.lower)) {
    const auto name = lower_.tree.xattr_name(xattr);
    if (host_xattr_name(name)) names.append(name).push_back('\0');
  }
  return names;
}

Task<Result<void>> Overlay::setxattr(Reactor& reactor, NodeId id, std::string_view name,
                                     std::string_view value, std::uint32_t flags) {
  LB_CO_ASSIGN(const std::string host_name, host_xattr_name(name));
  if (value.size() > XATTR_SIZE_MAX) co_return fail(E2BIG);
  if ((flags & ~static_cast<std::uint32_t>(XATTR_CREATE | XATTR_REPLACE)) != 0) co_return fail(EINVAL);
  auto copied = co_await copy_up(reactor, id, kAllData);
  if (!copied) co_return std::unexpected(copied.error());
  const std::lock_guard lock(mutex_);
  const NodePtr& node = copied->node();
  LB_CO_ASSIGN(const HeldPlace place, place_of(node));
  LB_CO_ASSIGN(const auto reserved, quota_.reserve(value.size() + kXattrBlockBytes, 0));
  auto set = set_xattr_at(place.get(), host_name, value, static_cast<int>(flags));
  node->attr_valid = false;
  LB_CO_TRY(attr_of(*node));  // what it took is booked at once
  co_return set;
}

Task<Result<void>> Overlay::removexattr(Reactor& reactor, NodeId id, std::string_view name) {
  LB_CO_ASSIGN(const std::string host_name, host_xattr_name(name));
  {
    auto present = getxattr(id, name);
    if (!present) co_return std::unexpected(present.error());
  }
  auto copied = co_await copy_up(reactor, id, kAllData);
  if (!copied) co_return std::unexpected(copied.error());
  const std::lock_guard lock(mutex_);
  const NodePtr& node = copied->node();
  LB_CO_ASSIGN(const HeldPlace place, place_of(node));
  auto removed = remove_xattr_at(place.get(), host_name);
  node->attr_valid = false;
  LB_CO_TRY(attr_of(*node));
  co_return removed;
}

}  // namespace layerboot::overlay
