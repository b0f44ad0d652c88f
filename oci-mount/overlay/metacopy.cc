// Metacopies: files of the upper whose data is still the image's, as overlayfs has them with metacopy=on
// (fs/overlayfs/copy_up.c). A metacopy is as large as the image's file and all hole; a mark says that it is
// one. At the first change of its data it is filled in place, so that all of its names stay names of one
// file.
//
// What a crash may leave: the data is there and synced before the file is cut to what is kept of it, and only
// then the mark goes. So a marked file that is not as large as the image's is whole, and its mark is old.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/log.h"
#include "oci-mount/overlay/copies_under_way.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

/// The image's file that has the data of the one at `place`; kNoNode where that has its own.
Result<tree::NodeId> Overlay::load_metacopy(const Node& directory, const std::string& name, Place place,
                                            const struct stat& st) {
  LB_ASSIGN(const auto mark, get_xattr_at(place, marks().metacopy));
  if (!mark) return tree::kNoNode;
  LB_ASSIGN(const auto redirect, get_xattr_at(place, marks().redirect));
  const tree::NodeId lower = lower_named(directory, name, redirect);
  if (lower == tree::kNoNode || !S_ISREG(lower_.tree.node(lower).mode)) {
    return fail(EIO, name, ": its data should be in the image at ", redirect.value_or("the same place"),
                ", where no file is: the upper directory was changed by something else");
  }
  const std::uint64_t size_bytes = lower_.tree.node(lower).size_bytes;
  if (size_bytes > 0 && size_bytes == static_cast<std::uint64_t>(st.st_size)) return lower;
  LB_TRY(remove_xattr_at(place, marks().metacopy));
  return tree::kNoNode;
}

/// Before a file gets another place: a metacopy's data is found by its place, unless it says where.
Result<void> Overlay::redirect_data(Node& node) {
  if (!node.data_below) return {};
  LB_ASSIGN(const auto reserved, quota_.reserve(kXattrBlockBytes, 0));
  LB_ASSIGN(const HeldPlace place, place_of(node.shared_from_this()));
  LB_TRY(set_xattr_at(place.get(), marks().redirect, lower_.tree.path(node.lower), 0));
  node.attr_valid = false;
  LB_TRY(attr_of(node));  // booked at once
  return {};
}

/// Gives a metacopy the image's data, or as much of it as is to be kept.
/// REQUIRES: `lower` of the Node is entered in copying_ by this request.
Task<Result<Overlay::Pin>> Overlay::fill(Reactor& reactor, Pin pin, std::uint64_t data_bytes) {
  const NodePtr node = pin.node();
  const CopyUpEnd end(*this, node->lower);
  const auto& record = lower_.tree.node(node->lower);
  data_bytes = std::min(record.size_bytes, data_bytes);
  LB_CO_ASSIGN(const auto reserved, quota_.reserve(worst_copy_bytes(record, data_bytes), 0));
  FdCache::Fd fd;
  {
    const std::lock_guard lock(mutex_);
    LB_CO_ASSIGN(fd, begin_filling(node));
  }
  auto filled = co_await copy_data(reactor, node->lower, fd->get(), data_bytes);
  if (filled) {
    auto synced = co_await reactor.fsync(fd->get(), false);
    if (!synced) filled = std::unexpected(std::move(synced).error());
  }
  if (!filled) {
    // Best effort: what stays is charged, and written over at the next try.
    auto punched = co_await reactor.fallocate(fd->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                              record.size_bytes);
    if (!punched) log_warn("cannot free a half-made copy: ", punched.error().describe());
  }
  const std::lock_guard lock(mutex_);
  LB_CO_TRY(end_filling(*node, fd->get(), std::move(filled), data_bytes));
  co_return std::move(pin);
}

Result<FdCache::Fd> Overlay::begin_filling(const NodePtr& node) {
  if (node->removed) return fail(ENOENT);
  LB_ASSIGN(auto fd, file_fd(node));
  LB_ASSIGN(const struct stat st, stat_at({fd->get(), ""}));
  Filling filling{.mtime = st.st_mtim, .capability = std::nullopt};
  if (keeping() == Keeping::kNative) {
    LB_ASSIGN(filling.capability, get_xattr_at({fd->get(), ""}, kCapabilityXattr));
  }
  node->filling = std::move(filling);
  return fd;
}

/// From now on the file's data is its own.
Result<void> Overlay::keep_data(Node& node, int fd, std::uint64_t data_bytes) {
  if (data_bytes < lower_.tree.node(node.lower).size_bytes &&
      ::ftruncate(fd, static_cast<off_t>(data_bytes)) != 0) {
    return fail(errno);
  }
  LB_TRY(remove_xattr_at({fd, ""}, marks().metacopy));
  node.data_below = false;
  node.grows_late = true;
  node.dense.reset();
  return {};
}

/// Filled or not, to the guest nothing has changed yet.
Result<void> Overlay::end_filling(Node& node, int fd, Result<void> filled, std::uint64_t data_bytes) {
  const auto before = *std::exchange(node.filling, std::nullopt);
  node.attr_valid = false;
  if (node.removed) return fail(ENOENT);
  if (filled) filled = keep_data(node, fd, data_bytes);
  const Place self{fd, ""};
  if (before.capability) LB_TRY(set_xattr_at(self, kCapabilityXattr, *before.capability, 0));
  LB_TRY(set_times_at(self, {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, before.mtime}));
  LB_ASSIGN(const struct stat st, stat_at(self));
  book(node, st);
  return filled;
}

}  // namespace layerboot::overlay
