// New objects: what they inherit from their directory, and how they get their body and their name.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "oci-mount/overlay/acl.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

/// The default ACL of a directory, or "". Most have none, so it is asked for once.
Result<std::string> Overlay::default_acl_of(const Ref& directory) {
  if (!directory.node) return std::string(lower_.tree.xattr(directory.lower, kDefaultAclXattr).value_or(""));
  auto& known = directory.node->default_acl;
  if (!known) {
    LB_ASSIGN(const HeldPlace place, place_of(directory.node));
    LB_ASSIGN(const std::string name, host_xattr_name(keeping(), kDefaultAclXattr));
    LB_ASSIGN(auto value, get_xattr_at(place.get(), name));
    known = std::move(value).value_or("");
  }
  return *known;
}

/// Owner, mode and ACLs as the directory hands them down.
Result<Overlay::Inheritance> Overlay::inherit(const Ref& directory, NewObject object) {
  LB_ASSIGN(const Attr directory_attr,
            directory.node ? owner_of(*directory.node) : Result<Attr>(lower_.attr(directory.lower)));
  inherit_group(directory_attr, object.mode, object.caller);
  Inheritance inheritance;
  LB_ASSIGN(const std::string default_acl, default_acl_of(directory));
  auto acl = default_acl.empty() ? std::nullopt : Acl::parse(default_acl);
  if (S_ISLNK(object.mode)) {
    acl.reset();
  } else if (acl) {
    if (S_ISDIR(object.mode)) inheritance.default_acl = default_acl;
    object.mode = acl->restrict_for_new_object(object.mode);
    if (!acl->is_minimal()) inheritance.access_acl = acl->text();
  } else {
    object.mode &= ~(object.caller.umask & 0777U);
  }
  inheritance.nature = {
      .mode = object.mode, .uid = object.caller.uid, .gid = object.caller.gid, .rdev = object.rdev};
  return inheritance;
}

Result<void> Overlay::set_inherited_acls(Place place, const Inheritance& inheritance) {
  for (const auto& [name, acl] : {std::pair{kAccessAclXattr, &inheritance.access_acl},
                                  std::pair{kDefaultAclXattr, &inheritance.default_acl}}) {
    if (acl->empty()) continue;
    LB_ASSIGN(const std::string host_name, host_xattr_name(keeping(), name));
    LB_TRY(set_xattr_at(place, host_name, *acl, 0));
  }
  return {};
}

/// A whole object in the work directory, as `directory` would have it.
Result<Overlay::Unnamed> Overlay::make_unnamed(const Ref& directory, const NewObject& object) {
  LB_ASSIGN(const Inheritance inheritance, inherit(directory, object));
  return make_unnamed(inheritance, object.target);
}

Result<Overlay::Unnamed> Overlay::make_unnamed(const Inheritance& inheritance, std::string_view target) {
  Unnamed made{.work = work_place(), .nature = inheritance.nature, .body = {}};
  LB_ASSIGN(made.body, make_body(keeping(), made.work.get(), made.nature, target));
  if (inheritance.access_acl.empty() && inheritance.default_acl.empty()) return made;
  auto set = set_inherited_acls(made.work.get(), inheritance);
  auto st = stat_at(made.work.get());
  if (set && st) {
    made.body.st = *st;
    return made;
  }
  discard(made);
  return std::unexpected(set ? std::move(st).error() : std::move(set).error());
}

void Overlay::discard(const Unnamed& made) {
  static_cast<void>(unlink_at(made.work.get(), S_ISDIR(made.nature.mode) ? AT_REMOVEDIR : 0));
}

/// Gives it a name that is free to the client, in the place of a whiteout if there is one, at one stroke.
Result<NodePtr> Overlay::place_unnamed(const NodePtr& directory, std::string_view name, Unnamed made) {
  const auto move = [&]() -> Result<void> {
    LB_ASSIGN(const Found found, look({directory, directory->lower}, name));
    LB_ASSIGN(const HeldPlace place, place_in(directory, name));
    const bool is_directory = S_ISDIR(made.nature.mode);
    if (is_directory && found.lower_below != tree::kNoNode) {
      LB_TRY(set_xattr_at(made.work.get(), marks().opaque, "y", 0));
    }
    const bool swaps = is_directory && found.child != nullptr;
    LB_TRY(rename_at(made.work.get(), place.get(), swaps ? RENAME_EXCHANGE : 0));
    if (swaps) LB_TRY(unlink_at(made.work.get()));
    LB_ASSIGN(made.body.st, stat_at(place.get()));
    return {};
  };
  if (auto moved = move(); !moved) {
    discard(made);
    return std::unexpected(std::move(moved).error());
  }
  return name_new_node(directory, name, made.nature, std::move(made.body));
}

Result<NodePtr> Overlay::make_named(const NodePtr& directory, std::string_view name,
                                    const NewObject& object) {
  LB_ASSIGN(const Found found, look({directory, directory->lower}, name));
  LB_ASSIGN(const Inheritance inheritance, inherit({directory, directory->lower}, object));
  const bool has_acls = !inheritance.access_acl.empty() || !inheritance.default_acl.empty();
  if (found.child != nullptr || has_acls || !is_made_at_once(keeping(), inheritance.nature)) {
    LB_ASSIGN(Unnamed made, make_unnamed(inheritance, object.target));
    return place_unnamed(directory, name, std::move(made));
  }
  LB_ASSIGN(const HeldPlace place, place_in(directory, name));
  LB_ASSIGN(Body body, make_body(keeping(), place.get(), inheritance.nature, object.target));
  return name_new_node(directory, name, inheritance.nature, std::move(body));
}

/// The Node of a body that was just made, booked. Without a directory it is nameless: it has no links.
NodePtr Overlay::node_for(const NodePtr& directory, std::string_view name, const Nature& nature,
                          const struct stat& st) {
  auto node = std::make_shared<Node>();
  node->parent = directory;
  node->name = name;
  node->type = nature.mode & S_IFMT;
  if (keeping() == Keeping::kRecorded) node->recorded = nature;
  node->no_capability = true;
  node->host_ino = st.st_ino;
  node->id = number_for(tree::kNoNode, st.st_ino);
  quota_.add_inode();
  book(*node, st);
  return node;
}

NodePtr Overlay::name_new_node(const NodePtr& directory, std::string_view name, const Nature& nature,
                               Body body) {
  const NodePtr node = node_for(directory, name, nature, body.st);
  if (body.fd) fds_.put(node->id, std::move(body.fd));
  add_node(node);
  put_child(*directory, name, child_of(node));
  book_new_name(*directory, name);
  return node;
}

}  // namespace layerboot::overlay
