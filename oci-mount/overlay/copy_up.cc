#include "oci-mount/overlay/copy_up.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/log.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/file_rules.h"

namespace layerboot::overlay {

/// `origin` before the attributes, for which there may be no room on the host.
Result<void> CopyUp::copy_metadata(Place place, tree::NodeId row) {
  if (!S_ISDIR(lower_.tree.node(row).mode)) LB_TRY(paths_.set_mark(place, places_.marks().origin, row));
  return metadata_.copy(row, place);
}

/// Placing a copy is no change of its directory. The copy stands where the host does not set them.
void CopyUp::keep_times(const NodePtr& directory, const Attr& before) {
  directory->known.valid = false;
  const auto set = [&]() -> Result<void> {
    LB_ASSIGN(const HeldPlace place, places_.place_of(directory));
    return set_times_at(place.get(), {timespec_of(before.atime), timespec_of(before.mtime)});
  };
  if (const auto kept = set(); !kept) log_warn("cannot keep a directory's times: ", kept.error().describe());
}

Result<NodePtr> CopyUp::directory(const Ref& ref, Budget budget) {
  if (ref.node) return ref.node;
  LB_ASSIGN(const NodePtr parent, directory_of(lower_.tree.parent(ref.lower), budget));
  const std::string name(lower_.tree.name_in_parent(ref.lower));
  LB_ASSIGN(const Found found, directories_.look(parent, name));
  // An honest client can't hold a directory that its parent does not show.
  if (found.in_upper()) {
    LB_ASSIGN(const NodePtr node, objects_.load(parent, name, *found.child));
    if (node->id == ref.lower) return node;
  }
  if (found.visible_lower() != ref.lower) return fail(ESTALE);
  return copy_directory(parent, name, ref.lower, budget);
}

Result<NodePtr> CopyUp::directory_of(tree::NodeId row, Budget budget) {
  const Ref ref = nodes_.row(row);
  if (ref.node && ref.node->is_removed()) return fail(ENOENT);
  return directory(ref, budget);
}

Result<NodePtr> CopyUp::copy_directory(const NodePtr& parent, const std::string& name, tree::NodeId row,
                                       Budget budget) {
  LB_ASSIGN(const auto reserved, objects_.reserve(ledger_.tariff().for_object(name.size()), 1, budget));
  const HeldPlace work = places_.work_place();
  if (::mkdirat(work.get().dir_fd, work.get().name, 0700) != 0) return fail(errno);
  const auto place = [&]() -> Result<NodePtr> {
    LB_TRY(copy_metadata(work.get(), row));
    LB_ASSIGN(const struct stat st, stat_at(work.get()));
    LB_ASSIGN(const HeldPlace to, places_.place_in(parent, name));
    LB_ASSIGN(const Attr parent_attr, objects_.attr_of(*parent));
    auto node = objects_.new_node();
    LB_TRY(ledger_.count_attributes(*node, work.get()));
    LB_TRY(rename_at(work.get(), to.get(), RENAME_NOREPLACE));
    node->parent = parent;
    node->name = name;
    objects_.become_copy(node, row, st);
    nodes_.add(node);
    directories_.put(*parent, name, child_of(node));
    keep_times(parent, parent_attr);
    return node;
  };
  auto placed = place();
  if (!placed) static_cast<void>(unlink_at(work.get(), AT_REMOVEDIR));
  return placed;
}

/// Of a directory of the image that was removed before anything of it changed. Without a name, it goes with
/// the client's last reference.
Result<NodePtr> CopyUp::copy_removed(const NodePtr& node) {
  LB_ASSIGN(const auto reserved, objects_.reserve(ledger_.tariff().for_object(0), 1));
  const HeldPlace work = places_.work_place();
  if (::mkdirat(work.get().dir_fd, work.get().name, 0700) != 0) return fail(errno);
  const auto make = [&]() -> Result<UniqueFd> {
    LB_TRY(copy_metadata(work.get(), node->lower));
    LB_TRY(ledger_.count_attributes(*node, work.get()));
    return open_directory_at(work.get());
  };
  auto made = make();
  LB_TRY(unlink_at(work.get(), AT_REMOVEDIR));
  if (!made) return std::unexpected(std::move(made).error());
  LB_ASSIGN(const struct stat st, stat_at({made->get(), ""}));
  if (!objects_.adopt_orphan(*node, std::make_shared<const UniqueFd>(*std::move(made)))) return fail(ENOENT);
  objects_.become_copy(node, node->lower, st);
  return node;
}

/// Whether the merged `directory` still shows `row` as `name`, and which directory of the upper is to hold
/// its copy.
Result<bool> CopyUp::still_named(tree::NodeId directory, std::string_view name, tree::NodeId row,
                                 NodePtr& in) {
  auto parent = directory_of(directory);
  if (!parent) {
    const int code = parent.error().code;
    if (code == ESTALE || code == ENOENT) return false;
    return std::unexpected(parent.error());
  }
  in = *parent;
  LB_ASSIGN(const Found found, directories_.look(in, name));
  return found.visible_lower() == row;
}

/// All names by which the client finds the row, with bodies in the upper for their directories: so that all
/// that the budget may refuse comes before the first of them leads to a copy.
Result<std::vector<CopyUp::Name>> CopyUp::names_of(tree::NodeId row) {
  std::vector<Name> names;
  const auto look_at = [&](tree::NodeId directory, std::string_view name) -> Result<void> {
    NodePtr in;
    LB_ASSIGN(const bool named, still_named(directory, name, row, in));
    if (named) names.push_back({std::move(in), std::string(name)});
    return {};
  };
  const tree::NodeId parent = lower_.tree.parent(row);
  const std::string_view first = lower_.tree.name_in_parent(row);
  LB_TRY(look_at(parent, first));
  for (const auto& link : lower_.tree.links(row)) {
    if (link.parent != parent || lower_.tree.name(link) != first)
      LB_TRY(look_at(link.parent, lower_.tree.name(link)));
  }
  return names;
}

/// Makes one name lead to the copy, which is at `copy` and, unless `moves`, keeps that name.
Result<void> CopyUp::make_name(const Name& name, Place copy, bool moves, const NodePtr& node) {
  LB_ASSIGN(const HeldPlace to, places_.place_in(name.directory, name.name));
  LB_TRY(moves ? rename_at(copy, to.get(), RENAME_NOREPLACE) : link_at(copy, to.get()));
  directories_.put(*name.directory, name.name, child_of(node));
  return {};
}

/// make_name() of names that are all in one directory, and how many of them were made.
CopyUp::Made CopyUp::make_names_in(std::span<const Name> names, Place copy, bool moves, const NodePtr& node) {
  const NodePtr& directory = names.front().directory;
  const auto before = objects_.attr_of(*directory);
  if (!before) return {.count = 0, .end = std::unexpected(before.error())};
  Made made;
  for (const Name& name : names) {
    made.end = make_name(name, copy, moves && made.count == 0, node);
    if (!made.end) break;
    ++made.count;
  }
  keep_times(directory, *before);
  return made;
}

/// The same of any names, as links of the copy at `copy`.
CopyUp::Made CopyUp::link_names(std::span<const Name> names, Place copy, const NodePtr& node) {
  Made made;
  while (made.end && made.count < names.size()) {
    const auto rest = names.subspan(made.count);
    const auto other = std::ranges::find_if(
        rest, [&](const Name& name) { return name.directory != rest.front().directory; });
    auto some = make_names_in(rest.first(static_cast<std::size_t>(other - rest.begin())), copy, false, node);
    made.count += some.count;
    made.end = std::move(some.end);
  }
  return made;
}

/// All or none of them: a file whose names lead to different copies would be worse than none.
Result<void> CopyUp::make_names(std::span<const Name> names, Place copy, const NodePtr& node) {
  if (names.empty()) return {};
  LB_ASSIGN(const HeldPlace first, places_.place_in(names[0].directory, names[0].name));
  // The first gets the copy as it is.
  LB_TRY(make_names_in(names.first(1), copy, true, node).end);
  auto linked = link_names(names.subspan(1), first.get(), node);
  if (!linked.end) {
    for (const Name& name : names.first(1 + linked.count)) take_back(name);
  }
  return linked.end;
}

/// What can't be taken back stays a name of the copy, here as on the host; the next start makes the others.
void CopyUp::take_back(const Name& name) {
  const auto take = [&]() -> Result<void> {
    LB_ASSIGN(const HeldPlace place, places_.place_in(name.directory, name.name));
    return unlink_at(place.get());
  };
  name.directory->known.valid = false;
  if (const auto taken = take(); taken) {
    directories_.erase(*name.directory, name.name);
  } else {
    log_warn("cannot take back a name of a copy: ", taken.error().describe());
    if (const auto found = directories_.look(name.directory, name.name); found && found->child != nullptr) {
      found->child->id = 0;  // to be loaded as what the host has there
    }
  }
}

/// Gives the finished copy, now at `copy` in the work directory, its names and its Node.
Result<NodePtr> CopyUp::place_copy(tree::NodeId row, Place copy, const struct stat& st, Data data) {
  NodePtr node = nodes_.known(row);
  const bool was_known = node != nullptr;
  if (!node) node = objects_.new_node();
  LB_ASSIGN(const auto names, names_of(row));
  // Without a name only a file that the client has held since before it lost its last can be meant.
  if (names.empty() && !was_known) return fail(ESTALE);
  // Found out before, and not by making all of them and taking them back.
  if (const auto most = places_.upper().most_links(); most > 0 && names.size() > most)
    return fail(EMLINK, "an image's file with ", names.size(), " names, and the host has ", most,
                " for one file");
  LB_TRY(ledger_.count_attributes(*node, copy));
  node->id = row;
  node->type = lower_.tree.node(row).mode & kTypeBits;
  node->host_ino = st.st_ino;
  LB_TRY(make_names(names, copy, node));
  // From here on nothing can fail: memory says what the host has.
  if (names.empty()) {
    node->standing = Standing::kInWork;
    node->name = copy.name;
  } else {
    node->standing = Standing::kNamed;
    node->parent = names.front().directory;
    node->name = names.front().name;
  }
  node->file.data_below = data == Data::kBelow;
  objects_.become_copy(node, row, st);
  nodes_.add(node);
  node->known.valid = names.size() <= 1;
  return node;
}

/// A crash came between the names of a copy: those that still lead to the image's file get theirs. Where the
/// host has no room for that now, they go on leading there. So they do where the image may have become
/// another one meanwhile: then two files of it may have been made one, and the copy would take the other
/// one's place.
void CopyUp::link_other_names(tree::NodeId row, const NodePtr& node) {
  if (lower_.may_become_another(row)) return;
  const auto link = [&]() -> Result<void> {
    LB_ASSIGN(const auto names, names_of(row));
    LB_ASSIGN(const HeldPlace from, places_.place_of(node));
    return link_names(names, from.get(), node).end;
  };
  if (const auto linked = link(); !linked) {
    log_warn("cannot give a file of the upper all of its names: ", linked.error().describe());
  }
  node->known.valid = false;
}

/// What a copy of the row may take beside itself and its first name: all its other names, and its attributes.
std::uint64_t CopyUp::names_and_attributes(tree::NodeId row) const {
  constexpr std::uint64_t kEntryBytes = 16;  // of a directory, beside the name
  const auto& tariff = ledger_.tariff();
  std::uint64_t bytes = 0;
  for (const auto& link : lower_.tree.links(row)) {
    const std::size_t name_bytes = lower_.tree.name(link).size();
    bytes += tariff.for_name(name_bytes) - kHostBlockBytes + name_bytes + kEntryBytes;
  }
  if (!tariff.counts_attributes()) return bytes;
  for (const auto& xattr : lower_.tree.xattrs(row))
    bytes += tariff.for_attribute(lower_.tree.xattr_name(xattr), lower_.tree.xattr_value(xattr).size());
  return bytes;
}

/// Symlinks, special files and files without their data: nothing to wait for. No data is no metacopy.
Result<NodePtr> CopyUp::copy_at_once(tree::NodeId row, Data data) {
  const auto& record = lower_.tree.node(row);
  if (!S_ISREG(record.mode) || record.size_bytes == 0) data = Data::kNone;
  const auto target = S_ISLNK(record.mode) ? lower_.tree.symlink_target(row) : std::string_view();
  const auto name_bytes = lower_.tree.name_in_parent(row).size();
  const std::uint64_t bytes =
      ledger_.tariff().for_object(name_bytes, target.size()) + names_and_attributes(row);
  LB_ASSIGN(const auto reserved, objects_.reserve(bytes, 1));
  const HeldPlace work = places_.work_place();
  LB_ASSIGN(const Body body,
            make_body(places_.keeping(), Making::kElsewhere, work.get(), nature_of(record), target));
  const auto finish = [&]() -> Result<NodePtr> {
    if (data == Data::kBelow) {
      LB_TRY(set_xattr_at({body.fd.get(), ""}, places_.marks().metacopy, {}, 0));
      if (::ftruncate(body.fd.get(), static_cast<off_t>(record.size_bytes)) != 0) return fail(errno);
    }
    LB_TRY(copy_metadata(work.get(), row));
    LB_ASSIGN(const struct stat st, stat_at(work.get()));
    return place_copy(row, work.get(), st, data);
  };
  auto node = finish();
  if (!node) static_cast<void>(unlink_at(work.get()));
  return node;
}

/// Whether `name` leads to the row's copy; its other names get made then.
Result<bool> CopyUp::finish_at(tree::NodeId row, tree::NodeId parent, std::string_view name_view) {
  const std::string name(name_view);
  const Ref directory = nodes_.row(parent);
  LB_ASSIGN(const Found found, directories_.look(directory, name));
  if (!found.in_upper()) return false;
  LB_ASSIGN(const NodePtr node, objects_.load(directory.node, name, *found.child));
  if (node->id != row) return false;
  // A copy of overlayfs's own has one name, and the others have always led to the image's file.
  LB_ASSIGN(const HeldPlace place, places_.place_of(node));
  LB_ASSIGN(const auto ours, get_xattr_at(place.get(), places_.marks().origin));
  if (ours) link_other_names(row, node);
  return true;
}

Result<bool> CopyUp::redirect_data(Node& node) {
  if (node.file.data_lost) LB_TRY(keep_lost(node));
  if (!node.file.data_below) return true;
  const std::string_view mark = places_.marks().redirect;
  return objects_.set_mark(node, mark, lower_.tree.path(node.lower).size(),
                           [&](Place place) { return paths_.set_mark(place, mark, node.lower); });
}

/// At another place it must not lead to the file that is below there.
Result<void> CopyUp::keep_lost(Node& node) {
  LB_ASSIGN(const HeldPlace place, places_.place_of(node.shared_from_this()));
  LB_ASSIGN(const auto redirect, get_xattr_at(place.get(), places_.marks().redirect));
  if (redirect) return {};
  LB_ASSIGN(const auto origin, get_xattr_at(place.get(), places_.marks().origin));
  const std::string path = origin.value_or("/");
  const std::string_view mark = places_.marks().redirect;
  LB_ASSIGN(const bool kept, objects_.set_mark(node, mark, path.size(),
                                               [&](Place at) { return set_xattr_at(at, mark, path, 0); }));
  return kept ? Result<void>() : fail(EXDEV);
}

/// What is lost is not wanted any more.
Result<void> CopyUp::give_up_data(Node& node) {
  LB_ASSIGN(const HeldPlace place, places_.place_of(node.shared_from_this()));
  LB_ASSIGN(const UniqueFd fd, open_regular_at(place.get()));
  if (::ftruncate(fd.get(), 0) != 0) return fail(errno);
  LB_TRY(remove_xattr_at({fd.get(), ""}, places_.marks().metacopy));
  node.file.data_lost = false;
  return objects_.recount_attributes(node, {fd.get(), ""});
}

}  // namespace layerboot::overlay
