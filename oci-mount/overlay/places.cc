// Where objects are on the host: descriptors and names.
#include "oci-mount/overlay/overlay.h"

namespace layerboot::overlay {

Result<FdCache::Fd> Overlay::directory_fd(const NodePtr& directory) {
  if (directory->is_root()) return root_fd_;
  if (auto fd = fds_.get(directory->id); fd) return fd;
  // Down from the nearest one that is open, with one descriptor at a time: a guest may nest without end.
  std::vector<const Node*> closed;
  FdCache::Fd fd;
  for (const Node* at = directory.get(); !fd; at = at->parent.get()) {
    if (at->removed || !at->in_upper) return fail(ENOENT);
    closed.push_back(at);
    if (!at->parent || at->parent->is_root()) {
      fd = at->parent ? root_fd_ : work_fd_;
    } else {
      fd = fds_.get(at->parent->id);
    }
  }
  for (; !closed.empty(); closed.pop_back()) {
    LB_ASSIGN(UniqueFd opened, open_directory_at({fd->get(), closed.back()->name.c_str()}));
    fd = fds_.put(closed.back()->id, std::move(opened));
  }
  return fd;
}

Result<FdCache::Fd> Overlay::file_fd(const NodePtr& node) {
  // Only regular files are ever opened: a device node or fifo made by the guest is the guest's, not the
  // host's.
  if (!node->is_regular()) return fail(EINVAL);
  if (node->orphan) return node->orphan;
  if (auto fd = fds_.get(node->id); fd) return fd;
  LB_ASSIGN(const HeldPlace place, place_of(node));
  LB_ASSIGN(UniqueFd fd, open_regular_at(place.get()));
  return fds_.put(node->id, std::move(fd));
}

Result<Overlay::HeldPlace> Overlay::place_of(const NodePtr& node) {
  if (node->removed || !node->in_upper) return fail(ENOENT);
  if (node->is_root()) return HeldPlace{root_fd_, "."};
  if (node->orphan) return HeldPlace{node->orphan, ""};
  if (!node->parent) return HeldPlace{work_fd_, node->name};
  return place_in(node->parent, node->name);
}

Result<Overlay::HeldPlace> Overlay::place_in(const NodePtr& directory, std::string_view name) {
  LB_ASSIGN(auto fd, directory_fd(directory));
  return HeldPlace{std::move(fd), std::string(name)};
}

Overlay::HeldPlace Overlay::work_place() { return {work_fd_, upper_.work_name()}; }

}  // namespace layerboot::overlay
