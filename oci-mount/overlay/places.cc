#include "oci-mount/overlay/places.h"

#include <utility>
#include <vector>

namespace layerboot::overlay {

Result<Places> Places::open(Upper upper) {
  LB_ASSIGN(UniqueFd root, open_directory_at({upper.root_fd(), "."}));
  LB_ASSIGN(UniqueFd work, open_directory_at({upper.work_fd(), "."}));
  return Places(std::move(upper), std::make_shared<const UniqueFd>(std::move(root)),
                std::make_shared<const UniqueFd>(std::move(work)));
}

Result<FdCache::Fd> Places::directory_fd(const NodePtr& directory) {
  if (directory->is_root()) return root_fd_;
  if (directory->is_orphan()) return directory->orphan;
  if (!directory->has_body()) return fail(ENOENT);
  if (auto fd = fds_.get(directory->id); fd) return fd;
  // Down from the nearest one that is open, with one descriptor at a time: a guest may nest without end.
  std::vector<const Node*> closed;
  FdCache::Fd fd;
  for (const Node* at = directory.get(); !fd; at = at->parent.get()) {
    if (!at->has_body()) return fail(ENOENT);
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

Result<FdCache::Fd> Places::file_fd(const NodePtr& node) {
  if (!node->is_regular()) return fail(EINVAL);
  if (node->file.data_lost) return fail(EIO);
  if (node->is_orphan()) return node->orphan;
  if (auto fd = fds_.get(node->id); fd) return fd;
  LB_ASSIGN(const HeldPlace place, place_of(node));
  LB_ASSIGN(UniqueFd fd, open_regular_at(place.get()));
  return fds_.put(node->id, std::move(fd));
}

Result<HeldPlace> Places::place_of(const NodePtr& node) {
  switch (node->standing) {
    case Standing::kOrphan:
      return HeldPlace{node->orphan, ""};
    case Standing::kInWork:
      return HeldPlace{work_fd_, node->name};
    case Standing::kNamed:
      if (node->is_root()) return HeldPlace{root_fd_, "."};
      return place_in(node->parent, node->name);
    case Standing::kLowerOnly:
    case Standing::kGone:
      break;
  }
  return fail(ENOENT);
}

Result<HeldPlace> Places::place_in(const NodePtr& directory, std::string_view name) {
  LB_ASSIGN(auto fd, directory_fd(directory));
  return HeldPlace{std::move(fd), std::string(name)};
}

}  // namespace layerboot::overlay
