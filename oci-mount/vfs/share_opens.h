// ShareOpens: the files of a shared directory that the client has open, each by a descriptor opened for just
// what the client wants.
//
// Others use the directory as well: a file that is open for writing can't be executed on the host, and who
// watches it is told when it was closed. So a descriptor lives from OPEN to RELEASE, no longer.
#pragma once

#include <fcntl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>

#include "oci-mount/overlay/fd_cache.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::vfs {

/// Not thread-safe: under its owner's lock. Unbounded: its owner counts descriptors.
class ShareOpens {
 public:
  using Fd = overlay::SharedFd;
  /// O_RDONLY, O_WRONLY and O_RDWR; also a client's handle.
  using Access = std::uint32_t;

  /// One more opening by a descriptor that is there already; null where there is none for this.
  Fd join(NodeId id, Access access) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return nullptr;
    Way& way = found->second[access];
    if (way.fd) ++way.openings;
    return way.fd;
  }
  /// The first one. REQUIRES: there is none for this.
  void add(NodeId id, Access access, Fd fd) {
    by_id_[id][access] = {std::move(fd), 1};
    ++descriptors_;
  }
  /// Ends one; the descriptor, if that was its last. One that is not there is ignored.
  Fd leave(NodeId id, Access access) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end() || access >= kAccesses) return nullptr;
    Way& way = found->second[access];
    if (!way.fd || --way.openings != 0) return nullptr;
    Fd last = std::move(way.fd);
    --descriptors_;
    for (const Way& other : found->second) {
      if (other.fd) return last;
    }
    by_id_.erase(found);
    return last;
  }
  /// All of a file that the client has let go of.
  void drop(NodeId id) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return;
    for (const Way& way : found->second) {
      if (way.fd) --descriptors_;
    }
    by_id_.erase(found);
  }
  void clear() {
    by_id_.clear();
    descriptors_ = 0;
  }

  [[nodiscard]] Fd readable(NodeId id) const { return either(id, O_RDONLY); }
  [[nodiscard]] Fd writable(NodeId id) const { return either(id, O_WRONLY); }
  [[nodiscard]] std::size_t descriptors() const { return descriptors_; }

 private:
  static constexpr std::size_t kAccesses = 3;
  struct Way {
    Fd fd;
    std::uint64_t openings = 0;
  };

  [[nodiscard]] Fd either(NodeId id, Access wanted) const {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return nullptr;
    const Way& way = found->second[wanted];
    return way.fd ? way.fd : found->second[O_RDWR].fd;
  }

  std::unordered_map<NodeId, std::array<Way, kAccesses>> by_id_;
  std::size_t descriptors_ = 0;
};

}  // namespace layerboot::vfs
