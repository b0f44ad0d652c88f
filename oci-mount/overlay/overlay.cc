// The Overlay's Nodes: finding, numbering, loading and letting go of them.
#include "oci-mount/overlay/overlay.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "oci-mount/base/log.h"
#include "oci-mount/overlay/device_number.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/tree/path_rules.h"

namespace layerboot::overlay {

namespace {

Time time_of(const struct timespec& time) { return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)}; }

/// The row at an absolute path, no symlink followed; kNoNode where there is none.
tree::NodeId row_at(const tree::Tree& tree, std::string_view path) {
  tree::NodeId at = tree::kRoot;
  while (at != tree::kNoNode && !path.empty()) {
    const auto end = path.find('/');
    const auto part = path.substr(0, end);
    if (!part.empty()) at = tree.lookup(at, part);
    path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
  }
  return at;
}

constexpr std::uint32_t kPermissions = 07777;

std::uint32_t type_of(std::uint32_t mode) { return mode & S_IFMT; }

}  // namespace

Result<void> check_name(std::string_view name) {
  if (tree::is_valid_name(name)) return {};
  return fail(name.size() > tree::kMaxNameBytes ? ENAMETOOLONG : EINVAL);
}

Result<std::unique_ptr<Overlay>> Overlay::open(Lower lower, const Options& options) {
  LB_ASSIGN(Upper upper, Upper::open(options.directory, options.image_identity, options.keeping));
  LB_ASSIGN(const Survey survey, upper.survey());
  LB_ASSIGN(UniqueFd root, open_directory_at({upper.root_fd(), "."}));
  LB_ASSIGN(UniqueFd work, open_directory_at({upper.work_fd(), "."}));
  std::unique_ptr<Overlay> overlay(new Overlay(lower, std::move(upper), options.limits, survey.usage));
  overlay->root_fd_ = std::make_shared<const UniqueFd>(std::move(root));
  overlay->work_fd_ = std::make_shared<const UniqueFd>(std::move(work));
  overlay->start_session();
  auto loaded = overlay->load_moved_directories(survey.moved_directories);
  if (loaded) loaded = overlay->load_lost_names();
  if (!loaded) {
    return while_doing(loaded.error(), "cannot read the upper directory ", options.directory.string());
  }
  return overlay;
}

Overlay::Overlay(Lower lower, Upper upper, Quota::Limits limits, Quota::Usage used)
    : lower_(lower),
      upper_(std::move(upper)),
      quota_(limits, used, upper_.root_fd()),
      lower_state_(std::make_unique<std::atomic<std::uint32_t>[]>(lower.tree.node_count() + std::size_t{1})) {
}

Overlay::~Overlay() { end_session(); }

void Overlay::start_session() {
  auto root = std::make_shared<Node>();
  root->id = kRootId;
  root->lower = tree::kRoot;
  root->type = S_IFDIR;
  root->never_evict = true;
  const Place place{upper_.root_fd(), "."};
  if (auto st = stat_at(place); st) {
    root->host_ino = st->st_ino;
    if (keeping() == Keeping::kRecorded) {
      if (auto nature = nature_at(keeping(), place, *st); nature) root->recorded = *nature;
    }
    root->charged_bytes = charge_of_root(*st);
  }
  nodes_[kRootId] = std::move(root);
  touch(tree::kRoot);
}

/// Forgets all Nodes; what only the client kept alive goes. The quota is right after the next survey.
void Overlay::end_session() {
  for (const auto& [id, node] : nodes_) {
    if (node->orphan) {
      free_orphan(*node);
    } else if (node->in_work()) {
      static_cast<void>(free_work_object(*node));
    }
  }
  // One by one: a deep chain of parents would be destroyed by as deep a recursion.
  for (const auto& [id, node] : nodes_) {
    node->parent.reset();
    node->removed = true;
  }
  nodes_.clear();
  fds_.clear();
  late_growth_.clear();
}

void Overlay::reset() {
  const std::lock_guard lock(mutex_);
  end_session();
  // As at the first start: one walk finds what is there, and what it takes.
  const auto survey = upper_.survey();
  if (survey) quota_.set_usage(survey->usage);
  for (std::size_t id = 0; id <= lower_.tree.node_count(); ++id) {
    lower_state_[id].store(0, std::memory_order_relaxed);
  }
  start_session();
  auto loaded = survey ? load_moved_directories(survey->moved_directories) : std::unexpected(survey.error());
  if (loaded) loaded = load_lost_names();
  if (!loaded) log_warn("cannot read a directory of the upper: ", loaded.error().describe());
}

/// Directories of the image that have been renamed are found by nothing but their redirect, so they are known
/// from the start: a copy-up must find all names of a file, wherever they are now. Parents come before
/// children.
Result<void> Overlay::load_moved_directories(const std::vector<std::string>& paths) {
  for (const auto& path : paths) {
    NodePtr at = nodes_.at(kRootId);
    for (std::string_view rest = path; !rest.empty();) {
      const auto end = rest.find('/');
      const std::string name(rest.substr(0, end));
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
      LB_ASSIGN(const Found found, look({at, at->lower}, name));
      if (!found.in_upper()) break;
      LB_ASSIGN(at, load_child(at, name, *found.child));
      if (!at->is_directory()) break;
    }
  }
  return {};
}

// ---- Nodes
// -----------------------------------------------------------------------------------------------------

Result<Overlay::Ref> Overlay::find(NodeId id) {
  if (const auto found = nodes_.find(id); found != nodes_.end()) {
    return Ref{found->second, found->second->lower};
  }
  if (untouched(id)) return Ref{nullptr, static_cast<tree::NodeId>(id)};
  return fail(ESTALE);
}

Result<Overlay::Ref> Overlay::find_directory(NodeId id) {
  LB_ASSIGN(Ref ref, find(id));
  const std::uint32_t type = ref.node ? ref.node->type : type_of(lower_.tree.node(ref.lower).mode);
  if (type != S_IFDIR) return fail(ENOTDIR);
  if (ref.node && ref.node->removed) return fail(ENOENT);
  return ref;
}

/// The lower object that one of the upper stands for: where its redirect leads, or its namesake below.
/// kNoNode where there is none.
tree::NodeId Overlay::lower_named(const Node& directory, const std::string& name,
                                  const std::optional<std::string>& redirect) {
  if (redirect && redirect->starts_with('/')) return row_at(lower_.tree, *redirect);
  if (directory.lower == tree::kNoNode) return tree::kNoNode;
  return lower_.tree.lookup(directory.lower, redirect ? *redirect : name);
}

/// What an upper directory merges with, if anything.
Result<tree::NodeId> Overlay::merged_lower(const Node& directory, const std::string& name, Place place) {
  LB_ASSIGN(const auto opaque, get_xattr_at(place, marks().opaque));
  if (opaque == "y") return tree::kNoNode;
  LB_ASSIGN(const auto redirect, get_xattr_at(place, marks().redirect));
  tree::NodeId lower = lower_named(directory, name, redirect);
  if (lower != tree::kNoNode && !S_ISDIR(lower_.tree.node(lower).mode)) lower = tree::kNoNode;
  return lower;
}

/// The row the object came from keeps being its number, unless something else has that already, as after a
/// copy made on the host by other means.
NodeId Overlay::number_for(tree::NodeId origin, std::uint64_t host_ino) {
  if (origin != tree::kNoNode) {
    const auto taken = nodes_.find(origin);
    if (taken == nodes_.end()) return origin;
    const Node& node = *taken->second;
    if (node.in_upper && !node.removed && node.host_ino == host_ino) return origin;
  }
  const NodeId id = kUpperIdBase + host_ino;
  // A removed directory has no inode any more, but the client may still hold its number.
  if (const auto taken = nodes_.find(id); taken != nodes_.end() && taken->second->removed)
    return next_spare_id_++;
  return id;
}

Result<NodePtr> Overlay::load_child(const NodePtr& directory, const std::string& name, Child& child) {
  // What a former name was kept in the work directory for, this one keeps from now on.
  const auto keep_by_this_name = [&](const NodePtr& node) -> Result<NodePtr> {
    if (!node->in_work()) return node;
    LB_TRY(unlink_at({upper_.work_fd(), node->name.c_str()}));
    move_node(node, directory, name);
    node->attr_valid = false;
    return node;
  };
  if (auto node = child.node.lock(); node && !node->removed) return keep_by_this_name(node);
  LB_ASSIGN(const HeldPlace place, place_in(directory, name));
  LB_ASSIGN(const struct stat st, stat_at(place.get()));
  auto node = std::make_shared<Node>();
  LB_ASSIGN(const Nature nature, nature_at(keeping(), place.get(), st));
  node->type = type_of(nature.mode);
  if (keeping() == Keeping::kRecorded) node->recorded = nature;
  node->host_ino = st.st_ino;
  tree::NodeId origin = tree::kNoNode;
  if (S_ISDIR(st.st_mode)) {
    LB_ASSIGN(origin, merged_lower(*directory, name, place.get()));
  } else {
    LB_ASSIGN(const auto path, get_xattr_at(place.get(), marks().origin));
    if (path) origin = row_at(lower_.tree, *path);
    if (origin != tree::kNoNode && type_of(lower_.tree.node(origin).mode) != node->type)
      origin = tree::kNoNode;
    if (node->is_regular()) {
      LB_ASSIGN(const tree::NodeId data, load_metacopy(*directory, name, place.get(), st));
      node->data_below = data != tree::kNoNode;
      if (node->data_below) origin = data;
    }
  }
  node->lower = origin;
  node->id = number_for(origin, st.st_ino);
  if (const auto known = nodes_.find(node->id); known != nodes_.end()) {
    // Another name of a file that is known already.
    const NodePtr same = known->second;
    if (same->host_ino != st.st_ino || !same->in_upper) return fail(ESTALE);
    child.node = same;
    return keep_by_this_name(same);
  }
  if (const auto charged_bytes = late_growth_.take(st.st_ino)) {
    node->charged_bytes = *charged_bytes;
    node->grows_late = true;
  } else {
    node->charged_bytes = static_cast<std::uint64_t>(st.st_blocks) * 512;
  }
  node->name = name;
  node->parent = directory;
  book(*node, st);
  child.node = node;
  return add_node(std::move(node));
}

NodePtr Overlay::add_node(NodePtr node) {
  if (node->parent) ++node->parent->loaded_children;
  if (lower_.tree.contains(node->id)) {
    node->never_evict = true;
    touch(static_cast<tree::NodeId>(node->id));
  }
  nodes_[node->id] = node;
  return node;
}

void Overlay::move_node(const NodePtr& node, const NodePtr& parent, std::string name) {
  if (node->parent) --node->parent->loaded_children;
  node->parent = parent;
  node->name = std::move(name);
  if (parent) ++parent->loaded_children;
}

/// Takes over what the host says of the object, and tells the quota.
void Overlay::book(Node& node, const struct stat& st) {
  const std::uint64_t allocated =
      node.is_root() ? charge_of_root(st) : static_cast<std::uint64_t>(st.st_blocks) * 512;
  node.unbooked_name_bytes = 0;
  if (allocated != node.charged_bytes) {
    quota_.settle_bytes(node.charged_bytes, allocated);
    node.charged_bytes = allocated;
  }
  // A name in the work directory is one that the client has removed. The host knows only the upper's part of
  // a merged directory's subdirectories: 1 means "not counted", as in overlayfs.
  std::uint64_t nlink = st.st_nlink;
  if (node.is_directory()) {
    nlink = node.lower == tree::kNoNode ? nlink : 1;
  } else if (node.in_work()) {
    nlink = nlink > 0 ? nlink - 1 : 0;
  }
  node.attr = {.ino = node.id,
               .size_bytes = static_cast<std::uint64_t>(st.st_size),
               .blocks = static_cast<std::uint64_t>(st.st_blocks),
               .atime = time_of(st.st_atim),
               .mtime = time_of(st.st_mtim),
               .ctime = time_of(st.st_ctim),
               .mode = (st.st_mode & kPermissions) | node.type,  // the host has other types for some
               .nlink = static_cast<std::uint32_t>(nlink),
               .uid = st.st_uid,
               .gid = st.st_gid,
               .rdev = encode_dev(st.st_rdev)};
  if (node.recorded) {
    node.attr.mode = node.recorded->mode;
    node.attr.uid = node.recorded->uid;
    node.attr.gid = node.recorded->gid;
    node.attr.rdev = node.recorded->rdev;
  }
  if (node.data_below) node.attr.blocks = lower_.tree.node(node.lower).blocks;
  if (node.filling) node.attr.mtime = time_of(node.filling->mtime);
  node.attr_valid = true;
  node.times_stale = false;
}

/// A directory grows by a block for many names: it is looked at once for so many of them.
void Overlay::book_new_name(Node& directory, std::string_view name) {
  constexpr std::size_t kBookedAfterBytes = 2048;
  directory.times_stale = true;
  directory.unbooked_name_bytes += name.size();
  if (directory.unbooked_name_bytes >= kBookedAfterBytes) static_cast<void>(attr_of(directory));
}

Result<Attr> Overlay::attr_of(Node& node) {
  if (!node.in_upper) {
    Attr attr = lower_.attr(node.lower);
    attr.nlink -= std::min(attr.nlink, node.lost_names);
    return attr;
  }
  if ((node.attr_valid && !node.times_stale) || node.removed) return node.attr;
  if (const auto fd = fds_.get(node.id); fd) {
    LB_ASSIGN(const struct stat st, stat_at({fd->get(), ""}));
    book(node, st);
  } else {
    LB_ASSIGN(const HeldPlace place, place_of(node.shared_from_this()));
    LB_ASSIGN(const struct stat st, stat_at(place.get()));
    book(node, st);
  }
  return node.attr;
}

/// Attributes of which mode and owner are right, and of a file its size.
Result<Attr> Overlay::owner_of(Node& node) {
  if (node.in_upper && node.attr_valid) return node.attr;
  return attr_of(node);
}

Result<Entry> Overlay::entry_for(const NodePtr& node) {
  LB_ASSIGN(const Attr attr, attr_of(*node));
  add_reference(*node);
  return Entry{node->id, attr};
}

Entry Overlay::entry_for_lower(tree::NodeId id) {
  add_lower_reference(id);
  return Entry{id, lower_.attr(id)};
}

// ---- operations on one node
// ----------------------------------------------------------------------------------

Result<Attr> Overlay::getattr(NodeId id) {
  if (untouched(id)) return lower_.attr(static_cast<tree::NodeId>(id));
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find(id));
  if (!ref.node) return lower_.attr(ref.lower);
  return attr_of(*ref.node);
}

Result<std::string> Overlay::readlink(NodeId id) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Ref ref, find(id));
  const std::uint32_t type = ref.node ? ref.node->type : type_of(lower_.tree.node(ref.lower).mode);
  if (type != S_IFLNK) return fail(EINVAL);
  if (!ref.node || !ref.node->in_upper) return std::string(lower_.tree.symlink_target(ref.lower));
  LB_ASSIGN(const HeldPlace place, place_of(ref.node));
  return link_target_at(keeping(), place.get());
}

Result<StatFs> Overlay::statfs() {
  constexpr std::uint64_t kBlock = 4096;
  const auto limits = quota_.limits();
  const auto available = quota_.available();
  return StatFs{.block_size_bytes = kBlock,
                .blocks = limits.bytes / kBlock,
                .blocks_free = available.bytes / kBlock,
                .inodes = limits.inodes,
                .inodes_free = available.inodes};
}

}  // namespace layerboot::overlay
