// Places: where objects of an upper are on the host, and the descriptors that reach them.
//
// Every object is reached by a directory's descriptor and one name, and no symlink is followed. Descriptors
// are few and bounded (FdCache), whatever the guest touches. Under the Overlay's lock.
#pragma once

#include <string>
#include <string_view>

#include "oci-mount/overlay/fd_cache.h"
#include "oci-mount/overlay/node.h"
#include "oci-mount/overlay/upper.h"

namespace layerboot::overlay {

/// A place whose directory descriptor is kept open.
struct HeldPlace {
  FdCache::Fd directory;
  std::string name;
  [[nodiscard]] Place get() const { return {directory->get(), name.c_str()}; }
};

/// A file in the work directory that goes unless it gets its name.
struct WorkFile {
  HeldPlace place;
  UniqueFd fd;
  bool is_named = false;

  WorkFile() = default;
  WorkFile(const WorkFile&) = delete;
  WorkFile& operator=(const WorkFile&) = delete;
  ~WorkFile() {
    if (fd && !is_named) static_cast<void>(unlink_at(place.get()));
  }
};

class Places {
 public:
  static Result<Places> open(Upper upper);

  [[nodiscard]] Keeping keeping() const { return upper_.keeping(); }
  [[nodiscard]] const Marks& marks() const { return marks_of(upper_.keeping()); }
  [[nodiscard]] const Upper& upper() const { return upper_; }

  /// A descriptor of a directory of the upper; ENOENT where it is gone.
  Result<FdCache::Fd> directory_fd(const NodePtr& directory);
  /// Of a regular file; EINVAL for anything else, which is never opened: a device or fifo that the guest made
  /// is the guest's, not the host's. EIO where its data is lost.
  Result<FdCache::Fd> file_fd(const NodePtr& node);
  /// Null where none is open.
  [[nodiscard]] FdCache::Fd open_fd(const Node& node) { return fds_.get(node.id); }
  void keep_fd(const Node& node, UniqueFd fd) { fds_.put(node.id, std::move(fd)); }
  [[nodiscard]] FdCache::Fd take_fd(const Node& node) { return fds_.take(node.id); }
  void drop_fd(const Node& node) { fds_.drop(node.id); }
  void drop_all_fds() { fds_.clear(); }
  /// See FdCache.
  void close_by(Closing& closing) { fds_.close_by(closing); }

  /// Where the object is; ENOENT where it has no body.
  Result<HeldPlace> place_of(const NodePtr& node);
  Result<HeldPlace> place_in(const NodePtr& directory, std::string_view name);
  /// A new name in the work directory.
  HeldPlace work_place() { return {work_fd_, upper_.work_name()}; }
  Result<void> make_whiteout(Place place) { return upper_.make_whiteout(place); }
  Result<void> clear_work() { return upper_.clear_work(); }
  Result<void> leave_clean_stop(const CleanStop& stop) { return upper_.leave_clean_stop(stop); }

 private:
  Places(Upper upper, FdCache::Fd root_fd, FdCache::Fd work_fd)
      : upper_(std::move(upper)), root_fd_(std::move(root_fd)), work_fd_(std::move(work_fd)) {}

  Upper upper_;
  FdCache::Fd root_fd_;
  FdCache::Fd work_fd_;
  FdCache fds_;
};

}  // namespace layerboot::overlay
