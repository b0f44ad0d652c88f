#include "oci-mount/overlay/new_objects.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <mutex>
#include <utility>

#include "oci-mount/overlay/acl.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/marks.h"

namespace layerboot::overlay {

namespace {

/// What a name and its object may take at most.
std::uint64_t most_bytes_of(const Parts& parts, std::string_view name, const NewObject& object) {
  const auto& tariff = parts.ledger.tariff();
  std::uint64_t bytes = tariff.for_object(name.size(), object.target.size());
  if (parts.places.keeping() == Keeping::kRecorded) {
    bytes += charge_of_record(tariff);
    // A symlink's target lies in an attribute as well.
    if (!object.target.empty()) bytes += tariff.for_attribute(kRecordedStatXattr, object.target.size());
  }
  return bytes;
}

}  // namespace

/// The default ACL of a directory, or "". Most have none, so it is asked for once.
Result<std::string> NewObjects::default_acl_of(const Ref& directory) {
  if (!directory.node) {
    return std::string(parts_.lower.tree.xattr(directory.lower, kDefaultAclXattr).value_or(""));
  }
  auto& known = directory.node->directory.default_acl;
  if (!known) {
    LB_ASSIGN(const HeldPlace place, parts_.places.place_of(directory.node));
    LB_ASSIGN(const std::string name, host_xattr_name(parts_.places.keeping(), kDefaultAclXattr));
    LB_ASSIGN(auto value, get_xattr_at(place.get(), name));
    known = std::move(value).value_or("");
    parts_.nodes.pay_for(*directory.node);
  }
  return *known;
}

/// Owner, mode and ACLs as the directory hands them down.
Result<NewObjects::Inheritance> NewObjects::inherit(const Ref& directory, NewObject object) {
  LB_ASSIGN(const Attr directory_attr, directory.node ? parts_.objects.owner_of(*directory.node)
                                                      : Result<Attr>(parts_.lower.attr(directory.lower)));
  inherit_group(directory_attr, object.mode, object.caller);
  Inheritance inheritance;
  inheritance.hands_down_group = (directory_attr.mode & S_ISGID) != 0;
  LB_ASSIGN(const std::string default_acl, default_acl_of(directory));
  auto acl = default_acl.empty() ? std::nullopt : Acl::parse(default_acl);
  if (S_ISLNK(object.mode)) {
    acl.reset();
  } else if (acl) {
    if (S_ISDIR(object.mode)) inheritance.default_acl = default_acl;
    object.mode = acl->restrict_for_new_object(object.mode);
    if (!acl->is_minimal()) inheritance.access_acl = acl->text();
  } else {
    object.mode &= ~(object.caller.umask & kAccessBits);
  }
  inheritance.nature = {
      .mode = object.mode, .uid = object.caller.uid, .gid = object.caller.gid, .rdev = object.rdev};
  return inheritance;
}

Result<void> NewObjects::set_inherited_acls(Unnamed& made, const Inheritance& inheritance) {
  const auto& tariff = parts_.ledger.tariff();
  LB_ASSIGN(made.reserved,
            parts_.objects.reserve(tariff.for_attribute(kAccessAclXattr, inheritance.access_acl.size()) +
                                       tariff.for_attribute(kDefaultAclXattr, inheritance.default_acl.size()),
                                   0));
  for (const auto& [name, acl] : {std::pair{kAccessAclXattr, &inheritance.access_acl},
                                  std::pair{kDefaultAclXattr, &inheritance.default_acl}}) {
    if (acl->empty()) continue;
    LB_ASSIGN(const std::string host_name, host_xattr_name(parts_.places.keeping(), name));
    LB_TRY(set_xattr_at(made.work.get(), host_name, *acl, 0));
  }
  return {};
}

Result<NewObjects::Unnamed> NewObjects::make_unnamed(const Nature& nature) {
  return make_unnamed({.nature = nature, .access_acl = {}, .default_acl = {}, .hands_down_group = false},
                      NewObject{});
}

Result<NewObjects::Unnamed> NewObjects::make_unnamed(const Inheritance& inheritance,
                                                     const NewObject& object) {
  Unnamed made{.work = object.prepared != nullptr ? object.prepared->place : parts_.places.work_place(),
               .nature = inheritance.nature,
               .body = {},
               .has_acls = false,
               .reserved = {}};
  UniqueFd prepared = object.prepared != nullptr ? std::move(object.prepared->fd) : UniqueFd();
  LB_ASSIGN(made.body, make_body(parts_.places.keeping(), Making::kElsewhere, made.work.get(), made.nature,
                                 object.target, std::move(prepared)));
  if (inheritance.access_acl.empty() && inheritance.default_acl.empty()) return made;
  auto set = set_inherited_acls(made, inheritance);
  auto st = stat_at(made.work.get());
  if (set && st) {
    made.has_acls = true;
    made.body.st = *st;
    return made;
  }
  discard(made);
  return std::unexpected(set ? std::move(st).error() : std::move(set).error());
}

void NewObjects::discard(const Unnamed& made) {
  static_cast<void>(unlink_at(made.work.get(), S_ISDIR(made.nature.mode) ? AT_REMOVEDIR : 0));
}

Result<NodePtr> NewObjects::place(const NodePtr& directory, std::string_view name, Unnamed made) {
  const auto move = [&]() -> Result<void> {
    LB_ASSIGN(const Found found, parts_.directories.look(directory, name));
    LB_ASSIGN(const HeldPlace place, parts_.places.place_in(directory, name));
    const bool is_directory = S_ISDIR(made.nature.mode);
    if (is_directory && found.lower_below != tree::kNoNode) {
      LB_TRY(set_xattr_at(made.work.get(), parts_.places.marks().opaque, "y", 0));
    }
    const bool swaps = is_directory && found.child != nullptr;
    LB_TRY(rename_at(made.work.get(), place.get(), swaps ? RENAME_EXCHANGE : 0));
    // It has its name: nothing below can take that back. A whiteout left in the work directory goes at the
    // next start.
    if (swaps) static_cast<void>(unlink_at(made.work.get()));
    if (const auto st = stat_at(place.get()); st) made.body.st = *st;
    return {};
  };
  if (auto moved = move(); !moved) {
    discard(made);
    return std::unexpected(std::move(moved).error());
  }
  return placed(directory, name, std::move(made));
}

NodePtr NewObjects::placed(const NodePtr& directory, std::string_view name, Unnamed made) {
  NodePtr node = name_new_node(directory, name, made.nature, std::move(made.body), Making::kElsewhere);
  count_attributes_of(*node, made.has_acls);
  return node;
}

/// A new object may have more attributes than the record that every one on a recorded upper has: ACLs, marks
/// of directories and devices, the target of a symlink.
void NewObjects::count_attributes_of(Node& node, bool has_acls) {
  const bool kept_as_attribute = S_ISLNK(node.type) && parts_.places.keeping() == Keeping::kRecorded;
  const bool marked = has_acls || kept_as_attribute || S_ISDIR(node.type) || S_ISCHR(node.type);
  if (!marked || !parts_.ledger.tariff().counts_attributes()) return;
  const auto at = parts_.places.place_of(node.shared_from_this());
  if (!at || !parts_.objects.recount_attributes(node, at->get())) parts_.ledger.doubt();
}

bool NewObjects::needs_target(const NewObject& object) const {
  return is_target_data(parts_.places.keeping(), object.target);
}

Result<void> NewObjects::prepare_target(NodeId parent, std::string_view name, const NewObject& object,
                                        WorkFile& prepared) {
  // It is charged by make(), which asks anew.
  LB_ASSIGN(const auto reserved, parts_.objects.reserve_without_lock(most_bytes_of(parts_, name, object), 1));
  {
    const std::lock_guard lock(parts_.mutex);
    LB_ASSIGN(const Ref ref, parts_.nodes.find_directory(parent));
    LB_ASSIGN(const Found before, parts_.directories.look(ref, name));
    if (before.exists()) return fail(EEXIST);
    prepared.place = parts_.places.work_place();
  }
  LB_ASSIGN(prepared.fd, layerboot::overlay::prepare_target(prepared.place.get(), object.target));
  return {};
}

Result<NodePtr> NewObjects::make(NodeId parent, std::string_view name, const NewObject& object) {
  LB_ASSIGN(const Ref ref, parts_.nodes.find_directory(parent));
  LB_ASSIGN(const Found before, parts_.directories.look(ref, name));
  if (before.exists()) return fail(EEXIST);
  LB_ASSIGN(const auto reserved, parts_.objects.reserve(most_bytes_of(parts_, name, object), 1));
  LB_ASSIGN(const NodePtr directory, parts_.copy_up.directory(ref));
  return make_in(directory, name, object);
}

Result<NodePtr> NewObjects::make_in(const NodePtr& directory, std::string_view name,
                                    const NewObject& object) {
  LB_ASSIGN(const Found found, parts_.directories.look(directory, name));
  LB_ASSIGN(const Inheritance inheritance, inherit({directory, directory->lower}, object));
  const Making making = making_in_place(found, inheritance);
  if (making == Making::kElsewhere) {
    LB_ASSIGN(Unnamed made, make_unnamed(inheritance, object));
    return place(directory, name, std::move(made));
  }
  LB_ASSIGN(const HeldPlace place, parts_.places.place_in(directory, name));
  LB_ASSIGN(Body body,
            make_body(parts_.places.keeping(), making, place.get(), inheritance.nature, object.target));
  // What is made in place has no attributes.
  return name_new_node(directory, name, inheritance.nature, std::move(body), making);
}

/// Whether it is whole as soon as it has its name.
Making NewObjects::making_in_place(const Found& found, const Inheritance& inheritance) const {
  const bool has_acls = !inheritance.access_acl.empty() || !inheritance.default_acl.empty();
  if (found.child != nullptr || has_acls) return Making::kElsewhere;
  return making_of(parts_.places.keeping(), inheritance.nature,
                   {.uid = uid_,
                    .gid = gid_,
                    .hands_down_group = inheritance.hands_down_group,
                    .has_nameless_files = parts_.places.upper().has_nameless_files()});
}

Result<NodePtr> NewObjects::make_beside_others(PartLock& lock, NodeId parent, std::string_view name,
                                               const NewObject& object) {
  LB_ASSIGN(const Ref ref, parts_.directories.find(lock, parent, PartLock::For::kClaiming));
  if (!ref.node || !ref.node->has_body()) return NodePtr();
  LB_ASSIGN(const Found before, parts_.directories.look(ref, name));
  if (before.exists()) return fail(EEXIST);
  if (before.lower_below != tree::kNoNode) return NodePtr();
  LB_ASSIGN(const Inheritance inheritance, inherit(ref, object));
  const Making making = making_in_place(before, inheritance);
  if (making == Making::kElsewhere) return NodePtr();
  LB_ASSIGN(const auto reserved, parts_.objects.reserve(most_bytes_of(parts_, name, object), 1));
  LB_ASSIGN(const HeldPlace place, parts_.places.place_in(ref.node, name));
  const Objects::Keep keep(parts_.objects, ref.node);
  auto body = lock.with_claim(*ref.node, [&] {
    return make_body(parts_.places.keeping(), making, place.get(), inheritance.nature, object.target);
  });
  if (!body) return std::unexpected(std::move(body).error());
  return name_new_node(ref.node, name, inheritance.nature, *std::move(body), making);
}

Result<NodePtr> NewObjects::make_nameless(NodeId parent, const NewObject& object) {
  LB_ASSIGN(const Ref ref, parts_.nodes.find_directory(parent));
  LB_ASSIGN(const auto reserved, parts_.objects.reserve(parts_.ledger.tariff().for_object(0), 1));
  LB_ASSIGN(const Inheritance inheritance, inherit(ref, object));
  LB_ASSIGN(Unnamed made, make_unnamed(inheritance, object));
  const NodePtr node = parts_.objects.make_node(made.nature, made.body.st);
  node->standing = Standing::kInWork;
  node->name = made.work.name;
  parts_.objects.book(*node, made.body.st);  // its name is none to the client
  parts_.places.keep_fd(*node, std::move(made.body.fd));
  parts_.nodes.add(node);
  count_attributes_of(*node, made.has_acls);
  return node;
}

NodePtr NewObjects::name_new_node(const NodePtr& directory, std::string_view name, const Nature& nature,
                                  Body body, Making making) {
  NodePtr node = parts_.objects.make_node(nature, body.st);
  node->parent = directory;
  node->name = name;
  if (node->is_regular() && making != Making::kAtOnce) node->file.own_name.change();
  if (body.fd) parts_.places.keep_fd(*node, std::move(body.fd));
  parts_.nodes.add(node);
  parts_.directories.put(*directory, name, child_of(node));
  parts_.objects.add_name(*directory, name);
  return node;
}

}  // namespace layerboot::overlay
