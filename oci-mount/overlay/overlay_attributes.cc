// Attributes of merged objects: owners, modes, times, sizes, and extended attributes.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <climits>

#include "oci-mount/base/mode_bits.h"
#include "oci-mount/overlay/acl.h"
#include "oci-mount/overlay/allocated_range.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

Task<Result<Attr>> Overlay::setattr(Reactor& reactor, NodeId id, AttrChange change) {
  // What a truncation cuts off need not be copied.
  auto copied = co_await parts_.copy_up.copy_up(reactor, id, change.size_bytes);
  if (!copied) co_return std::unexpected(copied.error());
  const NodePtr node = copied->node();
  if (change.size_bytes) {
    co_await parts_.settling.room(reactor);
    auto cut = co_await truncate(reactor, node, *change.size_bytes);
    if (!cut) co_return std::unexpected(cut.error());
  }
  auto changed = change_attributes(node, change);
  if (change.size_bytes) parts_.settling.keep_up();
  co_return changed;
}

Result<Attr> Overlay::change_attributes(const NodePtr& node, const AttrChange& change) {
  const std::lock_guard lock(parts_.mutex);
  auto applied = apply(node, change);
  node->known.valid = false;
  auto attr = parts_.objects.attr_of(*node);
  // The rest of the last block is written over, and what lay beyond the end may be a part of the file now.
  if (change.size_bytes && !node->is_gone()) parts_.ledger.data_changed(*node, DataChange::kAny);
  if (!applied) return std::unexpected(applied.error());
  return attr;
}

/// What must be known and reserved before a file gets another size.
struct Overlay::Cut {
  FdCache::Fd fd;
  Result<Quota::Reservation> reserved;
  std::uint64_t old_size_bytes = 0;  // where the host keeps what is cut
  std::uint64_t replaced_bytes = 0;  // of the rest of what was the last block
  bool is_large = false;
};

/// A file that grows has the rest of what was its last block written, also in a hole (btrfs_cont_expand() of
/// fs/btrfs/inode.c). Not where only its size falls.
Result<Overlay::Cut> Overlay::prepare_cut(const NodePtr& node, std::uint64_t size_bytes) {
  const std::lock_guard lock(parts_.mutex);
  if (node->is_gone()) return fail(ENOENT);  // its number may be another's
  Cut cut;
  LB_ASSIGN(cut.fd, parts_.places.file_fd(node));
  cut.reserved = Quota::Reservation();
  if (parts_.ledger.tariff().keeps_what_is_cut()) {
    node->known.valid = false;
    LB_ASSIGN(const Attr before, parts_.objects.attr_of(*node));
    cut.old_size_bytes = before.size_bytes;
    const bool grows = size_bytes > before.size_bytes;
    parts_.ledger.expect_kept(*node, grows ? kDataBlockBytes : node->charge.allocated_bytes);
    if (grows && before.size_bytes % kDataBlockBytes != 0) {
      cut.reserved = parts_.objects.reserve(parts_.ledger.tariff().for_data(kDataBlockBytes), 0);
      if (takes_overwrites(*node, cut.fd->get())) {
        if (!cut.reserved) return std::unexpected(std::move(cut.reserved).error());
        cut.replaced_bytes = kDataBlockBytes;
      }
    }
  }
  ++node->file.blocks.freeing;
  cut.is_large = node->charge.bytes >= Objects::kLargeBytes;
  return cut;
}

void Overlay::settle_cut(Node& node, const Cut& cut, std::uint64_t size_bytes, bool is_done,
                         bool is_on_disk) {
  const int fd = cut.fd->get();
  if (is_done && !node.is_gone() && parts_.ledger.tariff().keeps_what_is_cut()) {
    if (cut.replaced_bytes > 0) parts_.objects.book_replaced(node, fd, cut.replaced_bytes);
    parts_.objects.book_cut(node, fd, size_bytes, is_on_disk);
  }
  parts_.objects.end_freeing(node, fd);
  node.file.forget_density();
  node.known.valid = false;
  if (node.is_gone()) parts_.ledger.doubt();
}

/// Without the lock: the host frees some gigabytes a second. Where it may be many, not on a queue's thread.
Task<Result<void>> Overlay::truncate(Reactor& reactor, const NodePtr& node, std::uint64_t size_bytes) {
  if (size_bytes > INT64_MAX) co_return fail(EFBIG);
  const bool is_kept = parts_.ledger.tariff().keeps_what_is_cut();
  FileTurns::Alone alone;
  if (is_kept) alone = co_await parts_.file_turns.take(reactor, node);
  LB_CO_ASSIGN(Cut prepared, prepare_cut(node, size_bytes));
  const int fd = prepared.fd->get();
  int code = 0;
  bool is_on_disk = false;  // all that is left, so that what comes behind it has extents of its own
  const auto cut = [&] {
    const std::uint64_t old_end = prepared.old_size_bytes;
    const bool has_room = prepared.reserved || is_allocated(fd, block_start(old_end), old_end);
    code = !has_room ? ENOSPC : ::ftruncate(fd, static_cast<off_t>(size_bytes)) == 0 ? 0 : errno;
    if (code != 0 || size_bytes == 0 || !is_kept) return;
    const auto unwritten = first_unwritten(fd);
    is_on_disk = unwritten && *unwritten >= size_bytes && is_allocated(fd, 0, size_bytes);
  };
  if (prepared.is_large) {
    co_await parts_.workers.run(reactor, cut);
  } else {
    cut();
  }
  const std::lock_guard lock(parts_.mutex);
  if (code == 0) Ledger::charge_kept_whole(*node);
  alone.end();
  settle_cut(*node, prepared, size_bytes, code == 0, is_on_disk);
  if (code != 0) co_return fail(code);
  co_return Result<void>();
}

Result<void> Overlay::apply(const NodePtr& node, const AttrChange& change) {
  LB_ASSIGN(const HeldPlace place, parts_.places.place_of(node));
  const bool owner_changes = change.uid || change.gid;
  LB_TRY(apply_nature(node, place.get(), change));
  if (!node->is_directory() && (owner_changes || change.size_bytes)) {
    LB_TRY(drop_capability(*node, place.get()));
  }
  if (change.atime || change.mtime) {
    LB_TRY(set_times_at(place.get(), {timespec_of(change.atime), timespec_of(change.mtime)}));
  }
  if (change.mtime && node->file.filling) {
    LB_ASSIGN(const struct stat st, stat_at(place.get()));
    node->file.filling->mtime = st.st_mtim;
  }
  return {};
}

/// Mode and owner.
Result<void> Overlay::apply_nature(const NodePtr& node, Place place, const AttrChange& change) {
  if (change.mode && S_ISLNK(node->type)) return fail(EOPNOTSUPP);
  const bool owner_changes = change.uid || change.gid;
  if (!owner_changes && !change.mode && !change.kill_suid_sgid) return {};
  if (change.size_bytes) node->known.valid = false;
  LB_ASSIGN(const Attr before, parts_.objects.attr_of(*node));
  Nature nature{.mode = change.mode ? (before.mode & kTypeBits) | *change.mode : before.mode,
                .uid = change.uid.value_or(before.uid),
                .gid = change.gid.value_or(before.gid),
                .rdev = before.rdev};
  // The host clears set-id bits when it sees fit; the client says itself when it wants that.
  if (change.kill_suid_sgid && !node->is_directory()) nature.mode = without_set_id(nature.mode);
  LB_TRY(set_nature(*node, place, nature, owner_changes ? Owner::kSet : Owner::kStays));
  return change.mode ? follow_mode_in_acl(place, nature.mode) : Result<void>();
}

/// Also where the owner stays, chown(2) would take a file's capabilities away.
Result<void> Overlay::set_nature(Node& node, Place place, const Nature& nature, Owner owner) {
  node.known.valid = false;
  if (parts_.places.keeping() == Keeping::kRecorded) {
    LB_TRY(set_nature_at(parts_.places.keeping(), place, nature));
    node.known.recorded = nature;
    return {};
  }
  if (owner == Owner::kSet) return set_nature_at(parts_.places.keeping(), place, nature);
  return set_mode_at(place, nature.mode);
}

/// What a host does by itself with an ACL of its own: chmod(2) changes it.
Result<void> Overlay::follow_mode_in_acl(Place place, std::uint32_t mode) {
  if (parts_.places.keeping() == Keeping::kNative) return {};
  LB_ASSIGN(const std::string name, host_xattr_name(parts_.places.keeping(), kAccessAclXattr));
  LB_ASSIGN(const auto text, get_xattr_at(place, name));
  auto acl = text ? Acl::parse(*text) : std::nullopt;
  if (!acl) return {};
  acl->set_permissions(mode);
  return set_xattr_at(place, name, acl->text(), 0);
}

/// What a host does by itself with a file's capabilities: whatever changes the file takes them away
/// (CVE-2021-20263).
Result<void> Overlay::drop_capability(Node& node, Place place) {
  node.file.late_writes.capability.reset();
  if (node.file.filling) node.file.filling->capability.reset();
  // The host drops one of its own by itself; but where attributes are charged, that has to be booked.
  const bool is_hosts =
      parts_.places.keeping() == Keeping::kNative && !parts_.ledger.tariff().counts_attributes();
  if (is_hosts || node.file.no_capability) return {};
  LB_ASSIGN(const std::string name, host_xattr_name(parts_.places.keeping(), kCapabilityXattr));
  auto removed = remove_xattr_at(place, name);
  if (!removed && removed.error().code != ENODATA) return removed;
  node.file.no_capability = true;
  return removed ? parts_.objects.recount_attributes(node, place) : Result<void>();
}

/// Whether the host will take a capability away at this write: then end_late_write() puts it back. Every
/// write that is under way takes it, so it is kept here while any of them is.
Result<bool> Overlay::begin_late_write(Node& node, int fd) {
  if (parts_.places.keeping() != Keeping::kNative || node.file.no_capability) return false;
  auto& late = node.file.late_writes;
  if (late.under_way == 0) {
    LB_ASSIGN(late.capability, get_xattr_at({fd, ""}, kCapabilityXattr));
    if (!late.capability) {
      node.file.no_capability = true;
      return false;
    }
  }
  ++late.under_way;
  return true;
}

void Overlay::end_late_write(Node& node, int fd) {
  auto& late = node.file.late_writes;
  // A host without room for it has taken it for good, as it may at any write.
  if (late.capability) static_cast<void>(set_xattr_at({fd, ""}, kCapabilityXattr, *late.capability, 0));
  if (--late.under_way == 0) late.capability.reset();
}

// ---- extended attributes

Result<std::string> Overlay::getxattr(NodeId id, std::string_view name) {
  LB_ASSIGN(const std::string host_name, host_xattr_name(parts_.places.keeping(), name));
  if (parts_.nodes.is_held_untouched(id)) return parts_.lower.getxattr(static_cast<tree::NodeId>(id), name);
  const std::lock_guard lock(parts_.mutex);
  LB_ASSIGN(const Ref ref, parts_.nodes.find(id));
  if (ref.is_lower()) return parts_.lower.getxattr(ref.lower, name);
  LB_ASSIGN(const HeldPlace place, parts_.places.place_of(ref.node));
  LB_ASSIGN(auto value, get_xattr_at(place.get(), host_name));
  if (!value) return fail(ENODATA);
  return *std::move(value);
}

Result<std::string> Overlay::listxattr(NodeId id) {
  const std::lock_guard lock(parts_.mutex);
  LB_ASSIGN(const Ref ref, parts_.nodes.find(id));
  if (ref.is_lower()) return parts_.lower.listxattr(ref.lower);
  std::string names;
  LB_ASSIGN(const HeldPlace place, parts_.places.place_of(ref.node));
  LB_ASSIGN(const auto host_names, list_xattrs_at(place.get()));
  for (const auto& host_name : host_names) {
    if (const auto name = guest_xattr_name(parts_.places.keeping(), host_name); name)
      names.append(*name).push_back('\0');
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
  LB_ASSIGN(const std::string host_name, host_xattr_name(parts_.places.keeping(), name));
  if (is_default) {
    node->directory.default_acl.reset();
    parts_.nodes.pay_for(*node);
    return set_xattr_at(place, host_name, value, 0);
  }
  LB_ASSIGN(const Attr before, parts_.objects.attr_of(*node));
  if (parts_.places.keeping() == Keeping::kNative || !acl->is_minimal()) {
    LB_TRY(set_xattr_at(place, host_name, value, 0));
  } else if (auto gone = remove_xattr_at(place, host_name); !gone && gone.error().code != ENODATA) {
    return gone;
  }
  Nature nature{.mode = (before.mode & ~kAccessBits) | acl->permissions(),
                .uid = before.uid,
                .gid = before.gid,
                .rdev = before.rdev};
  if (kill_sgid) nature.mode &= ~static_cast<std::uint32_t>(S_ISGID);
  return set_nature(*node, place, nature, Owner::kStays);
}

Task<Result<void>> Overlay::setxattr(Reactor& reactor, NodeId id, std::string_view name,
                                     std::string_view value, std::uint32_t flags) {
  LB_CO_ASSIGN(const std::string host_name, host_xattr_name(parts_.places.keeping(), name));
  if (value.size() > XATTR_SIZE_MAX) co_return fail(E2BIG);
  const bool kill_sgid = (flags & kXattrKillSgid) != 0;
  flags &= ~kXattrKillSgid;
  if ((flags & ~static_cast<std::uint32_t>(XATTR_CREATE | XATTR_REPLACE)) != 0) co_return fail(EINVAL);
  auto copied = co_await parts_.copy_up.copy_up(reactor, id, CopyUp::kNoData);
  if (!copied) co_return std::unexpected(copied.error());
  const std::lock_guard lock(parts_.mutex);
  const NodePtr& node = copied->node();
  // As every host has it, but its body may be of another type.
  if (name.starts_with("user.") && !node->is_regular() && !node->is_directory()) co_return fail(EPERM);
  LB_CO_ASSIGN(const HeldPlace place, parts_.places.place_of(node));
  LB_CO_ASSIGN(const auto reserved, reserve_for_attribute(place.get(), host_name, value.size()));
  auto set = is_acl_xattr(name) ? set_acl(node, place.get(), name, value, kill_sgid)
                                : set_xattr_at(place.get(), host_name, value, static_cast<int>(flags));
  if (name == kCapabilityXattr) {
    node->file.no_capability = false;
    // A recorded upper's is an attribute that the host does not know, and leaves alone.
    if (set && parts_.places.keeping() == Keeping::kNative) {
      if (node->file.filling) node->file.filling->capability = value;
      if (node->file.late_writes.under_way > 0) node->file.late_writes.capability = value;
    }
  }
  recount_attributes(*node, place.get());  // what it took is booked at once
  co_return set;
}

/// Nothing where one is there that is as large.
Result<Quota::Reservation> Overlay::reserve_for_attribute(Place place, const std::string& host_name,
                                                          std::size_t value_bytes) {
  const auto& tariff = parts_.ledger.tariff();
  auto reserved = parts_.objects.reserve(tariff.for_attribute(host_name, value_bytes), 0);
  if (reserved) return reserved;
  const auto present = get_xattr_at(place, host_name);
  if (present && *present && (*present)->size() >= value_bytes) return Quota::Reservation();
  return reserved;
}

Task<Result<void>> Overlay::removexattr(Reactor& reactor, NodeId id, std::string_view name) {
  LB_CO_ASSIGN(const std::string host_name, host_xattr_name(parts_.places.keeping(), name));
  {
    auto present = getxattr(id, name);
    // Without an ACL an object is as it is to be.
    if (!present && present.error().code == ENODATA && is_acl_xattr(name)) co_return Result<void>();
    if (!present) co_return std::unexpected(present.error());
  }
  auto copied = co_await parts_.copy_up.copy_up(reactor, id, CopyUp::kNoData);
  if (!copied) co_return std::unexpected(copied.error());
  const std::lock_guard lock(parts_.mutex);
  const NodePtr& node = copied->node();
  LB_CO_ASSIGN(const HeldPlace place, parts_.places.place_of(node));
  if (name == kDefaultAclXattr) {
    node->directory.default_acl.reset();
    parts_.nodes.pay_for(*node);
  }
  auto removed = remove_xattr_at(place.get(), host_name);
  if (name == kCapabilityXattr && node->file.filling) node->file.filling->capability.reset();
  if (name == kCapabilityXattr) node->file.late_writes.capability.reset();
  recount_attributes(*node, place.get());
  co_return removed;
}

/// After the host's last step, so that a failure is no error to the client: the next count finds what it
/// took.
void Overlay::recount_attributes(Node& node, Place place) {
  node.known.valid = false;
  if (!parts_.objects.recount_attributes(node, place)) parts_.ledger.doubt();
}

}  // namespace layerboot::overlay
