// Names: making, linking, renaming and removing objects.
#include <linux/fs.h>
#include <sys/stat.h>

#include <optional>

#include "oci-mount/base/path_rules.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

namespace {

/// A rename has at most two files to fill and one directory to clear; more only where others put other
/// objects there meanwhile.
constexpr int kMostRenameTries = 8;

/// A reference to an object for as long as a request needs it, beside those of the client.
class Hold {
 public:
  explicit Hold(Overlay& overlay) : overlay_(overlay) {}
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() {
    if (id != 0) overlay_.forget(id, 1);
  }
  NodeId id = 0;  // 0: none

 private:
  Overlay& overlay_;
};

}  // namespace

Result<Entry> Overlay::make(NodeId parent, std::string_view name, NewObject object) {
  LB_TRY(check_name(name));
  {
    PartLock lock(parts_.mutex);
    LB_TRY(parts_.objects.make_room());
    LB_ASSIGN(const NodePtr node, new_objects_.make_beside_others(lock, parent, name, object));
    if (node) return parts_.objects.entry_for(node);
  }
  WorkFile target;  // outlives the lock
  if (new_objects_.needs_target(object)) {
    LB_TRY(new_objects_.prepare_target(parent, name, object, target));
    object.prepared = &target;
  }
  const std::lock_guard lock(parts_.mutex);
  LB_TRY(parts_.objects.make_room());
  LB_ASSIGN(const NodePtr node, new_objects_.make(parent, name, object));
  return parts_.objects.entry_for(node);
}

Result<Entry> Overlay::mknod(NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t rdev,
                             Caller caller) {
  if ((mode & kTypeBits) == 0) mode |= S_IFREG;
  const bool is_special = S_ISCHR(mode) || S_ISBLK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);
  if (!is_special && !S_ISREG(mode)) return fail(EINVAL);
  mode &= kTypeBits | kPermissionBits;
  return make(parent, name, {.mode = mode, .rdev = rdev, .target = {}, .caller = caller});
}

Result<Entry> Overlay::mkdir(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller) {
  mode = (mode & kPermissionBits) | S_IFDIR;
  return make(parent, name, {.mode = mode, .rdev = 0, .target = {}, .caller = caller});
}

Result<Entry> Overlay::symlink(NodeId parent, std::string_view name, std::string_view target, Caller caller) {
  if (!is_valid_symlink_target(target)) return fail(target.empty() ? ENOENT : ENAMETOOLONG);
  return make(parent, name, {.mode = S_IFLNK | 0777, .rdev = 0, .target = target, .caller = caller});
}

Result<Entry> Overlay::create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                              Caller caller) {
  mode = (mode & kPermissionBits) | S_IFREG;
  auto made = make(parent, name, {.mode = mode, .rdev = 0, .target = {}, .caller = caller});
  if (made || made.error().code != EEXIST || exclusive) return made;
  auto existing = lookup(parent, name);
  // Removed since: whoever asked can't know, and may ask again.
  if (existing && existing->id == 0) return fail(ENOENT);
  return existing;
}

Result<Entry> Overlay::tmpfile(NodeId parent, std::uint32_t mode, Caller caller) {
  mode = (mode & kPermissionBits) | S_IFREG;
  const std::lock_guard lock(parts_.mutex);
  LB_TRY(parts_.objects.make_room());
  LB_ASSIGN(const NodePtr node,
            new_objects_.make_nameless(parent, {.mode = mode, .rdev = 0, .target = {}, .caller = caller}));
  return parts_.objects.entry_for(node);
}

Result<void> Overlay::unlink(NodeId parent, std::string_view name) {
  LB_TRY(check_name(name));
  {
    PartLock lock(parts_.mutex);
    parts_.objects.ask_for_room();
    LB_ASSIGN(const bool removed, removal_.unlink_beside_others(lock, parent, name));
    if (removed) return {};
  }
  return remove(parent, name, false);
}

Result<void> Overlay::rmdir(NodeId parent, std::string_view name) {
  LB_TRY(check_name(name));
  return remove(parent, name, true);
}

Result<void> Overlay::remove(NodeId parent, std::string_view name, bool is_directory) {
  std::optional<HeldPlace> leftover;
  std::optional<Pin> victim;  // outlives the lock
  if (is_directory) {
    LB_ASSIGN(auto read, parts_.directories.read_ahead(parts_.mutex, parent, name));
    if (read) victim.emplace(*std::move(read));
  }
  {
    const std::lock_guard lock(parts_.mutex);
    parts_.objects.ask_for_room();
    LB_TRY(removal_.remove(parent, name, is_directory, leftover));
  }
  if (leftover) Removal::discard(*leftover);
  return {};
}

Task<Result<Entry>> Overlay::link(Reactor& reactor, NodeId id, NodeId new_parent, std::string_view new_name) {
  LB_CO_TRY(check_name(new_name));
  LB_CO_TRY(parts_.directories.read_ahead(parts_.mutex, new_parent));
  {
    const std::lock_guard lock(parts_.mutex);
    LB_CO_TRY(parts_.objects.make_room());
    LB_CO_TRY(check_link(id, new_parent, new_name));
  }
  auto copied = co_await parts_.copy_up.copy_up(reactor, id, CopyUp::kNoData);
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr& node = copied->node();
  {
    const std::lock_guard lock(parts_.mutex);
    LB_CO_ASSIGN(const auto linked, link_now(node, new_parent, new_name));
    if (linked) co_return *linked;
  }
  auto filled = co_await parts_.copy_up.copy_up(reactor, id, CopyUp::kAllData);
  if (!filled) co_return std::unexpected(filled.error());
  const std::lock_guard lock(parts_.mutex);
  LB_CO_ASSIGN(const auto linked, link_now(node, new_parent, new_name));
  co_return linked ? Result<Entry>(*linked) : fail(ENOSPC);
}

/// What can be said before anything is copied up.
Result<void> Overlay::check_link(NodeId id, NodeId new_parent, std::string_view new_name) {
  LB_ASSIGN(const Ref directory, parts_.nodes.find_directory(new_parent));
  LB_ASSIGN(const Found found, parts_.directories.look(directory, new_name));
  if (found.exists()) return fail(EEXIST);
  LB_ASSIGN(const Ref ref, parts_.nodes.find(id));
  if (ref.node && ref.node->is_gone()) return fail(ENOENT);
  if (S_ISDIR(ref.node ? ref.node->type : parts_.lower.tree.node(ref.lower).mode)) return fail(EPERM);
  return {};
}

/// Nothing where the file has to get its data first.
Result<std::optional<Entry>> Overlay::link_now(const NodePtr& node, NodeId new_parent,
                                               std::string_view new_name) {
  LB_TRY(check_link(node->id, new_parent, new_name));
  LB_TRY(parts_.objects.reserve(parts_.ledger.tariff().for_name(new_name.size()), 0));
  LB_ASSIGN(const Ref parent, parts_.nodes.find_directory(new_parent));
  LB_ASSIGN(const NodePtr directory, parts_.copy_up.directory(parent));
  LB_ASSIGN(const bool redirected, parts_.copy_up.redirect_data(*node));
  if (!redirected) return std::nullopt;
  LB_ASSIGN(const Found found, parts_.directories.look(directory, new_name));
  LB_ASSIGN(Attr linked, parts_.objects.attr_of(*node));
  LB_ASSIGN(const HeldPlace from, parts_.places.place_of(node));
  LB_ASSIGN(const HeldPlace to, parts_.places.place_in(directory, new_name));
  if (node->in_work()) {
    // Its only name is the one we keep it by: give it this one instead.
    LB_TRY(rename_at(from.get(), to.get(), 0));
    node->standing = Standing::kNamed;
    node->file.own_name.change();
    parts_.nodes.move(node, directory, std::string(new_name));
  } else if (found.child == nullptr) {
    LB_TRY(link_at(from.get(), to.get()));
  } else {
    const HeldPlace work = parts_.places.work_place();
    LB_TRY(link_at(from.get(), work.get()));
    if (auto moved = rename_at(work.get(), to.get(), 0); !moved) {
      static_cast<void>(unlink_at(work.get()));
      return std::unexpected(moved.error());
    }
  }
  parts_.directories.put(*directory, new_name, child_of(node));
  node->known.valid = false;
  directory->known.valid = false;
  // No inode is booked for the name, so what the directory has grown by is; or when it is next looked at.
  static_cast<void>(parts_.objects.attr_of(*directory));
  ++linked.nlink;
  return parts_.objects.entry_for(node, linked);
}

Task<Result<void>> Overlay::rename(Reactor& reactor, NodeId parent, std::string_view name, NodeId new_parent,
                                   std::string_view new_name, std::uint32_t flags) {
  LB_CO_TRY(check_name(name));
  LB_CO_TRY(check_name(new_name));
  constexpr std::uint32_t kKnown = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
  if ((flags & ~kKnown) != 0) co_return fail(EINVAL);
  // As renameat2(2): an exchange leaves no name to guard or to fill.
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  if (exchange && flags != RENAME_EXCHANGE) co_return fail(EINVAL);
  LB_CO_TRY(parts_.directories.read_ahead(parts_.mutex, parent));
  LB_CO_ASSIGN(const auto replaced, parts_.directories.read_ahead(parts_.mutex, new_parent, new_name));
  Hold source(*this);
  Hold other(*this);
  {
    const std::lock_guard lock(parts_.mutex);
    parts_.objects.ask_for_room();
    LB_CO_ASSIGN(const bool brings_more, renaming_.brings_more(parent, name, new_parent, new_name, flags));
    if (brings_more) LB_CO_TRY(parts_.objects.make_room());
    LB_CO_TRY(hold_file_to_copy_up(parent, name, source.id));
    if (exchange) LB_CO_TRY(hold_file_to_copy_up(new_parent, new_name, other.id));
  }
  for (const NodeId file : {source.id, other.id}) {
    if (file == 0) continue;
    auto copied = co_await parts_.copy_up.copy_up(reactor, file, CopyUp::kNoData);
    if (!copied) co_return std::unexpected(copied.error());
  }
  auto moved = co_await rename_now(reactor, parent, name, new_parent, new_name, flags);
  co_return moved;
}

Task<Result<void>> Overlay::rename_now(Reactor& reactor, NodeId parent, std::string_view name,
                                       NodeId new_parent, std::string_view new_name, std::uint32_t flags) {
  auto clearing = Renaming::Clearing::kElsewhere;
  for (int tries = 0; tries < kMostRenameTries; ++tries) {
    std::optional<Pin> full;  // outlives the lock
    Hold metacopy(*this);
    {
      const std::lock_guard lock(parts_.mutex);
      LB_CO_ASSIGN(const auto before, renaming_.rename(parent, name, new_parent, new_name, flags, clearing));
      if (before.is_nothing()) co_return Result<void>();
      if (before.clear) full.emplace(parts_.objects, before.clear);
      if (before.fill) {
        parts_.nodes.add_reference(*before.fill);
        metacopy.id = before.fill->id;
      }
    }
    if (full) {
      LB_CO_TRY(removal_.clear_whiteouts_beside_others(full->node()));
      clearing = Renaming::Clearing::kHere;
    } else {
      auto filled = co_await parts_.copy_up.copy_up(reactor, metacopy.id, CopyUp::kAllData);
      if (!filled) co_return std::unexpected(filled.error());
    }
  }
  co_return fail(ENOSPC);
}

Result<void> Overlay::hold_file_to_copy_up(NodeId parent, std::string_view name, NodeId& held) {
  LB_ASSIGN(const NodeId file, renaming_.file_to_copy_up(parent, name));
  if (file != 0) parts_.nodes.add_row_reference(static_cast<tree::NodeId>(file));
  held = file;
  return {};
}

}  // namespace layerboot::overlay
