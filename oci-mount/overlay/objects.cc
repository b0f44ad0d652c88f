#include "oci-mount/overlay/objects.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/device_number.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/lower_metadata.h"
#include "oci-mount/overlay/redirects.h"

namespace layerboot::overlay {

namespace {

/// A client's FORGETs lag behind its unlinks, so that many may be unlinked and held at a time. Each costs a
/// descriptor, of which a quarter may go for this.
std::size_t orphans_for(std::size_t most) {
  struct rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return std::min<std::size_t>(most, limit.rlim_cur / 4);
}

constexpr std::size_t kMaxOrphans = 256;  // leaves half of Sandbox::kServingDescriptors

}  // namespace

Objects::Objects(const Lower& lower, LowerPaths& paths, Places& places, Ledger& ledger, NodeTable& nodes,
                 MemoryBudget& memory, OverlayLock& mutex, Burials& burials)
    : lower_(lower),
      paths_(paths),
      places_(places),
      ledger_(ledger),
      nodes_(nodes),
      memory_(memory),
      mutex_(mutex),
      burials_(burials),
      max_orphans_(orphans_for(kMaxOrphans)) {}

// ---- attributes

void Objects::book(Node& node, const struct stat& st, std::optional<std::uint64_t> ahead_bytes) {
  ledger_.charge(node, st, ahead_bytes);
  // A name in the work directory is one that the client has removed. The host knows only the upper's part of
  // a merged directory's subdirectories: 1 means "not counted", as in overlayfs.
  std::uint64_t nlink = st.st_nlink;
  if (node.is_removed()) {
    nlink = 0;
  } else if (node.is_directory()) {
    nlink = node.lower == tree::kNoNode ? nlink : 1;
  } else if (node.in_work()) {
    nlink = nlink > 0 ? nlink - 1 : 0;
  }
  Attr& attr = node.known.attr;
  attr = {.ino = ino_of(node.id, node.host_ino),
          .size_bytes = static_cast<std::uint64_t>(st.st_size),
          .blocks = static_cast<std::uint64_t>(st.st_blocks),
          .atime = time_of(st.st_atim),
          .mtime = time_of(st.st_mtim),
          .ctime = time_of(st.st_ctim),
          .mode = (st.st_mode & kPermissionBits) | node.type,  // the host has other types for some
          .nlink = static_cast<std::uint32_t>(nlink),
          .uid = st.st_uid,
          .gid = st.st_gid,
          .rdev = encode_dev(st.st_rdev)};
  if (const auto& recorded = node.known.recorded; recorded) {
    attr.mode = recorded->mode;
    attr.uid = recorded->uid;
    attr.gid = recorded->gid;
    attr.rdev = recorded->rdev;
  }
  if (node.file.data_below) attr.blocks = lower_.tree.node(node.lower).blocks;
  if (node.file.filling) attr.mtime = time_of(node.file.filling->mtime);
  node.known.valid = true;
  node.known.times_stale = false;
}

void Objects::book_data(Node& node, int fd) {
  if (const auto st = stat_at({fd, ""}); st) book(node, *st);
}

void Objects::book_cut(Node& node, int fd, std::uint64_t size_bytes, bool is_on_disk) {
  const auto st = stat_at({fd, ""});
  if (!st) return;
  // A request of a former session may have written behind it.
  const bool is_as_cut = static_cast<std::uint64_t>(st->st_size) == size_bytes;
  Ledger::note_cut(node, *st, is_on_disk && is_as_cut);
  book(node, *st);
}

void Objects::book_replaced(Node& node, int fd, std::uint64_t replaced_bytes) {
  const auto st = stat_at({fd, ""});
  if (!st) return;
  Ledger::note_replaced(node, *st, replaced_bytes);
  book(node, *st);
}

void Objects::add_name(Node& directory, std::string_view name) {
  directory.known.times_stale = true;
  if (ledger_.add_name(directory, name)) static_cast<void>(attr_of(directory));
}

Result<Attr> Objects::attr_of(Node& node) {
  if (node.standing == Standing::kLowerOnly) {
    Attr attr = lower_.attr(node.lower);
    attr.nlink = node.is_directory() ? 0 : attr.nlink - std::min(attr.nlink, node.lost_names);
    return attr;
  }
  if ((node.known.valid && !node.known.times_stale) || node.is_gone()) return node.known.attr;
  if (const auto fd = places_.open_fd(node); fd) {
    LB_ASSIGN(const struct stat st, stat_at({fd->get(), ""}));
    book(node, st);
  } else {
    LB_ASSIGN(const HeldPlace place, places_.place_of(node.shared_from_this()));
    LB_ASSIGN(const struct stat st, stat_at(place.get()));
    book(node, st);
  }
  return node.known.attr;
}

Result<void> Objects::recount_attributes(Node& node, Place place) {
  LB_TRY(ledger_.count_attributes(node, place));
  LB_ASSIGN(const struct stat st, stat_at(place));
  book(node, st);
  return {};
}

Result<bool> Objects::set_mark(Node& node, std::string_view mark, std::size_t value_bytes,
                               const std::function<Result<void>(Place)>& set) {
  LB_ASSIGN(const auto reserved, reserve(ledger_.tariff().for_attribute(mark, value_bytes), 0));
  LB_ASSIGN(const HeldPlace place, places_.place_of(node.shared_from_this()));
  if (auto done = set(place.get()); !done) {
    if (lacks_attribute_room(done.error())) return false;
    return std::unexpected(std::move(done).error());
  }
  ++marks_made_;
  LB_TRY(recount_attributes(node, place.get()));
  return true;
}

Result<Attr> Objects::owner_of(Node& node) {
  if (node.has_body() && node.known.valid) return node.known.attr;
  return attr_of(node);
}

// ---- to the client

Result<Entry> Objects::entry_for(const NodePtr& node) {
  LB_ASSIGN(const Attr attr, attr_of(*node));
  nodes_.add_reference(*node);
  return Entry{node->id, attr};
}

Entry Objects::entry_for(const NodePtr& node, const Attr& expected) {
  const auto attr = attr_of(*node);
  nodes_.add_reference(*node);
  return Entry{node->id, attr ? *attr : expected};
}

Entry Objects::entry_for_row(tree::NodeId row) {
  nodes_.add_row_reference(row);
  return Entry{row, lower_.attr(row)};
}

// ---- into memory

void Objects::load_root() {
  auto root = Node::make(memory_);
  root->id = kRootId;
  root->lower = tree::kRoot;
  root->type = S_IFDIR;
  const Place place{places_.upper().root_fd(), "."};
  if (const auto st = stat_at(place); st) {
    root->host_ino = st->st_ino;
    if (places_.keeping() == Keeping::kRecorded) {
      if (const auto nature = nature_at(places_.keeping(), place, *st); nature)
        root->known.recorded = *nature;
    }
    static_cast<void>(ledger_.count_attributes(*root, place));
    root->charge.bytes = ledger_.tariff().root(*st) + root->charge.attribute_bytes;
  }
  nodes_.add(root);
}

Result<NodePtr> Objects::keep_by_name(const NodePtr& node, const NodePtr& directory,
                                      const std::string& name) {
  if (!node->in_work()) return node;
  LB_TRY(unlink_at({places_.upper().work_fd(), node->name.c_str()}));
  node->standing = Standing::kNamed;
  nodes_.move(node, directory, name);
  node->known.valid = false;
  return node;
}

/// Whether the object at `st`, which says that it was copied from the row `origin`, is to have its number,
/// unless it has another in memory. What was copied in another session, of a layer that may be another one by
/// now, may have been another object: what was two files then may be one with two names now, and under the
/// name of one that the guest has moved away there may be a new one.
bool Objects::is_numbered_by(const MergedName& merged, tree::NodeId origin, const struct stat& st) const {
  if (nodes_.is_number_of(origin, st.st_ino)) return true;
  if (!lower_.may_become_another(origin)) return true;
  const bool is_in_place =
      merged.directory != tree::kNoNode && lower_.tree.lookup(merged.directory, merged.name) == origin;
  return is_in_place && st.st_nlink == 1 && lower_.tree.node(origin).nlink == 1;
}

/// What the object merges with, or was copied from.
Result<tree::NodeId> Objects::origin_of(const Node& directory, const std::string& name, Place place,
                                        const struct stat& st, Node& node) {
  const MergedName merged{lower_, paths_, directory.lower, name};
  if (S_ISDIR(st.st_mode)) {
    LB_ASSIGN(const MergedLower below, merged_lower(merged, places_.marks(), place));
    node.directory.leads_nowhere = below.leads_nowhere;
    return below.row;
  }
  tree::NodeId origin = tree::kNoNode;
  LB_ASSIGN(const auto path, get_xattr_at(place, places_.marks().origin));
  if (path) {
    LB_ASSIGN(origin, paths_.at(*path));
  }
  if (origin != tree::kNoNode && (lower_.tree.node(origin).mode & kTypeBits) != node.type) {
    origin = tree::kNoNode;
  }
  if (origin != tree::kNoNode && !is_numbered_by(merged, origin, st)) origin = tree::kNoNode;
  if (!node.is_regular()) return origin;
  LB_ASSIGN(const DataSource data, data_source(merged, places_.marks(), place, st));
  node.file.data_below = data.where == DataSource::Where::kBelow;
  node.file.data_lost = data.where == DataSource::Where::kLost;
  return node.file.data_below ? data.row : origin;
}

/// A directory's listing can be read again, as long as nobody is in the middle of it.
void Objects::let_go_of_listings() {
  constexpr std::chrono::seconds kPause{1};
  const auto now = std::chrono::steady_clock::now();
  if (now < next_let_go_) return;
  next_let_go_ = now + kPause;
  for (const auto& [id, node] : nodes_.all()) {
    if (!node->is_root() && node->holders.pins == 0 && node->holders.loaded_children == 0 &&
        !nodes_.is_referenced(*node))
      node->directory.listing.reset();
  }
}

void Objects::let_go_of_loose() {
  for (const NodeId loose : nodes_.take_loose()) {
    if (NodePtr node = nodes_.known(loose); node) release_if_unused(std::move(node));
  }
}

void Objects::ask_for_room() {
  let_go_of_loose();
  if (!memory_.has_room(kRequestBytes)) let_go_of_listings();
}

Result<void> Objects::make_room() {
  ask_for_room();
  if (memory_.has_room(kRequestBytes)) return {};
  return fail(ENOMEM, "the memory limit of ", memory_.limit_bytes(), " bytes is reached");
}

Result<NodePtr> Objects::load(const NodePtr& directory, const std::string& name, Child& child) {
  // Its number may be another's by now, but not with its inode.
  const NodePtr known = child.id != 0 ? nodes_.known(child.id) : nullptr;
  if (known && known->host_ino == child.host_ino && known->has_body())
    return keep_by_name(known, directory, name);
  if (!memory_.has_room(NodeTable::kNodeBytes)) return fail(ENOMEM);
  LB_ASSIGN(const HeldPlace place, places_.place_in(directory, name));
  LB_ASSIGN(struct stat st, stat_at(place.get()));
  child.host_ino = st.st_ino;
  // Another name of a file that is known already, whatever is below this one.
  if (const NodePtr same = S_ISDIR(st.st_mode) ? nullptr : nodes_.known_at(st.st_ino); same) {
    child.id = same->id;
    return keep_by_name(same, directory, name);
  }
  auto node = Node::make(memory_);
  LB_ASSIGN(const Nature nature, nature_at(places_.keeping(), place.get(), st));
  if (S_ISLNK(nature.mode)) LB_TRY(mend_link_at(places_.keeping(), place.get(), st));
  node->type = nature.mode & kTypeBits;
  if (places_.keeping() == Keeping::kRecorded) node->known.recorded = nature;
  node->host_ino = st.st_ino;
  LB_ASSIGN(node->lower, origin_of(*directory, name, place.get(), st, *node));
  node->id = nodes_.number_for(node->lower, st.st_ino);
  if (const NodePtr same = nodes_.known(node->id); same) {
    // Another name of a file that is known already.
    if (same->host_ino != st.st_ino || !same->has_body()) return fail(ESTALE);
    child.id = same->id;
    return keep_by_name(same, directory, name);
  }
  // A metacopy may just have been given its size.
  if (node->file.data_below) {
    LB_ASSIGN(st, stat_at(place.get()));
  }
  LB_TRY(ledger_.count_attributes(*node, place.get()));
  ledger_.meet(*node, st);
  // A former session may have made the copy a moment ago.
  if (node->lower != tree::kNoNode) node->way.change();
  node->name = name;
  node->parent = directory;
  book(*node, st);
  child.id = node->id;
  nodes_.add(node);
  return node;
}

NodePtr Objects::make_node(const Nature& nature, const struct stat& st) {
  auto node = Node::make(memory_);
  node->type = nature.mode & kTypeBits;
  if (places_.keeping() == Keeping::kRecorded) node->known.recorded = nature;
  node->file.no_capability = true;
  node->host_ino = st.st_ino;
  node->id = nodes_.number_for(tree::kNoNode, st.st_ino);
  if (node->known.recorded) node->charge.attribute_bytes = charge_of_record(ledger_.tariff());
  ledger_.add_object();
  book(*node, st);
  return node;
}

void Objects::become_copy(const NodePtr& node, tree::NodeId row, const struct stat& st) {
  const auto& record = lower_.tree.node(row);
  node->id = row;
  node->lower = row;
  node->type = record.mode & kTypeBits;
  if (places_.keeping() == Keeping::kRecorded) {
    node->known.recorded = nature_of(record);
  }
  node->host_ino = st.st_ino;
  node->way.change();
  ++marks_made_;
  ledger_.add_object();
  book(*node, st);
}

}  // namespace layerboot::overlay
