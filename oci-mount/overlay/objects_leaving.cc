// How objects go: out of memory, and off the host.
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "oci-mount/base/log.h"
#include "oci-mount/overlay/named_walk.h"
#include "oci-mount/overlay/objects.h"

namespace layerboot::overlay {

void Objects::release_if_unused(NodePtr node) {
  // Parents that were only kept by their children follow them.
  while (node) {
    if (nodes_.is_referenced(*node) || node->holders.loaded_children > 0 || node->holders.pins > 0) return;
    if (node->is_orphan()) free_orphan(*node);
    if (is_to_be_settled(*node)) return;
    if (node->in_work() && free_work_object(*node)) {
      ledger_.part(*node);
      return nodes_.erase(node);
    }
    if (nodes_.stays_for_session(*node)) return;
    // What it has grown by must not be lost to the budget.
    if (!node->is_gone()) static_cast<void>(attr_of(*node));
    if (node->charge.is_ahead) close_ahead(*node);
    NodePtr parent = node->parent;
    part_with(*node);
    node = std::move(parent);
  }
}

/// What the host has allocated beyond the file's end it takes back when nobody has the file open any more.
void Objects::close_ahead(Node& node) {
  places_.take_fd(node).reset();
  if (node.is_gone()) return;
  node.known.valid = false;
  static_cast<void>(attr_of(node));
}

/// It may still grow, and lives on by a name: then it stays until it is settled.
bool Objects::is_to_be_settled(Node& node) {
  if (!ledger_.keeps(node) || !node.in_work())
    return ledger_.keeps(node) && node.standing == Standing::kNamed;
  node.known.valid = false;
  const auto attr = attr_of(node);
  return attr && attr->nlink > 0;
}

bool Objects::make_orphan(Node& node) {
  if (!node.is_regular() || lower_.tree.contains(node.id) || node.holders.references == 0) return false;
  if (orphans_ == max_orphans_) return false;
  auto fd = places_.file_fd(node.shared_from_this());
  return fd && adopt_orphan(node, *std::move(fd));
}

bool Objects::adopt_orphan(Node& node, SharedFd fd) {
  if (orphans_ == max_orphans_) return false;
  node.orphan = std::move(fd);
  places_.drop_fd(node);
  node.standing = Standing::kOrphan;
  ++orphans_;
  return true;
}

bool Objects::may_lose_name(const Node& node) const {
  return node.standing == Standing::kNamed && !nodes_.is_referenced(node) && node.holders.pins == 0 &&
         !nodes_.stays_for_session(node) && !ledger_.keeps(node);
}

void Objects::lose_name(Node& node, struct stat st) {
  --st.st_nlink;  // a name may be charged
  book(node, st);
  part_with(node);
}

/// It leaves memory; by its names on the host it is met again.
void Objects::part_with(Node& node) {
  ledger_.part(node);
  const NodePtr whole = node.shared_from_this();
  nodes_.move(whole, nullptr, {});
  places_.drop_fd(node);
  nodes_.erase(whole);
  node.standing = Standing::kGone;  // for whoever still has it in hand
}

SharedFd Objects::hold_directory(const NodePtr& directory) {
  if (!nodes_.is_referenced(*directory) || orphans_ == max_orphans_) return nullptr;
  return places_.directory_fd(directory).value_or(nullptr);
}

void Objects::unmake_orphan(Node& node) {
  node.orphan.reset();
  node.standing = Standing::kNamed;
  --orphans_;
}

SharedFd Objects::hold_large(const Node& node, Place place) {
  if (!node.is_regular() || node.charge.bytes < kLargeBytes) return nullptr;
  if (auto open = places_.take_fd(node); open) return open;
  auto handle = open_handle_at(place);
  return handle ? std::make_shared<const UniqueFd>(*std::move(handle)) : nullptr;
}

void Objects::bury(Node& node, SharedFd held) {
  if (held) {
    auto own = burials_.add(std::move(held), ledger_.remove_object_later(node));
    if (own) mutex_.closing().add(std::move(own));
  } else {
    ledger_.remove_object(node);
  }
  node.standing = Standing::kGone;
}

void Objects::free_orphan(Node& node) {
  SharedFd last = std::exchange(node.orphan, nullptr);
  --orphans_;
  const bool is_large = node.charge.bytes >= kLargeBytes;
  if (!is_large) mutex_.closing().add(std::move(last));
  bury(node, is_large ? std::move(last) : nullptr);
}

void Objects::drop_directory(Node& directory, SharedFd held) {
  if (directory.directory.listing) {
    ledger_.change_whiteouts(directory.directory.listing->whiteouts(), 0);
    let_go_of_listing(directory);
  }
  directory.known.attr.nlink = 0;
  directory.known.valid = true;
  places_.drop_fd(directory);
  if (held && adopt_orphan(directory, std::move(held))) {
    directory.known.times_stale = true;
  } else {
    bury(directory, nullptr);
  }
}

/// Names may be very many: they are freed after the lock.
void Objects::let_go_of_listing(Node& directory) {
  mutex_.closing().add(std::shared_ptr<const Listing>(std::move(directory.directory.listing)));
}

/// True when the object lives on by other names, where it will be met again.
bool Objects::free_work_object(Node& node) {
  const Place place{places_.upper().work_fd(), node.name.c_str()};
  SharedFd held = hold_large(node, place);
  places_.drop_fd(node);
  const auto st = stat_at(place);
  if (st) book(node, *st);
  const auto gone = unlink_at(place);
  if (!gone) log_warn("cannot remove an unlinked file from the work directory: ", gone.error().describe());
  if (!st) ledger_.doubt();  // it may live on by other names
  if (st && st->st_nlink > 1) {
    struct stat left = *st;
    if (gone) --left.st_nlink;  // a name may be charged
    book(node, left);
    return true;
  }
  bury(node, std::move(held));
  return false;
}

void Objects::free_unnamed() {
  for (const auto& [id, node] : nodes_.all()) {
    if (node->is_orphan()) {
      free_orphan(*node);
    } else if (node->in_work() && free_work_object(*node)) {
      ledger_.part(*node);
      node->standing = Standing::kGone;  // here: it lives on by other names, which are not in memory
    }
  }
}

Result<void> Objects::settle_all(Late late) {
  free_unnamed();
  if (ledger_.tariff().allocates_ahead()) places_.drop_all_fds();  // as close_ahead()
  if (late == Late::kOnDisk && ::syncfs(places_.upper().root_fd()) != 0) {
    return errno_error("syncfs of the upper directory");
  }
  std::vector<NodePtr> unsettled;
  for (const auto& [id, node] : nodes_.all()) {
    if (!node->has_body()) continue;
    const bool is_settled =
        node->known.valid && !node->known.times_stale && !node->charge.grows_late && !node->charge.is_ahead;
    if (is_settled && node->charge.unbooked_name_bytes == 0 && node->charge.kept_bytes == 0) continue;
    unsettled.push_back(node);
  }
  return visit_named(unsettled, places_.upper().root_fd(), memory_,
                     [this, late](Node& node, Place place) -> Result<void> {
                       LB_ASSIGN(const struct stat st, stat_at(place));
                       book(node, st);
                       if (late == Late::kOnDisk) ledger_.settled(node);
                       ledger_.part(node);
                       return {};
                     });
}

void Objects::end_session() {
  free_unnamed();
  for (const auto& [id, node] : nodes_.all()) {
    if (node->standing == Standing::kNamed) ledger_.part(*node);
    if (node->holders.pins == 0) continue;
    node->holders.outlives_session = true;
    ledger_.change_outliving(1);
  }
  nodes_.clear();
  places_.drop_all_fds();
}

Objects::Pin::~Pin() {
  if (objects_ == nullptr) return;
  const PartLock lock(objects_->mutex_);
  objects_->unpin(std::move(node_));
}

void Objects::unpin(NodePtr node) {
  --node->holders.pins;
  if (node->holders.pins == 0 && std::exchange(node->holders.outlives_session, false))
    ledger_.change_outliving(-1);
  release_if_unused(std::move(node));
}

Result<Objects::Pin> Objects::pin(Result<NodePtr> node) {
  if (!node) return std::unexpected(std::move(node).error());
  return Pin(*this, *std::move(node));
}

}  // namespace layerboot::overlay
