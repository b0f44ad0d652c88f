// What Linux's client leaves to its server of a file's set-id bits, when somebody changes the file who may
// not keep them (HANDLE_KILLPRIV_V2). Follows fs/attr.c and fs/fuse/{dev,dir,file}.c of Linux 6.1 and 6.12.
//
// Before each write(2), fallocate(2) and copy_file_range(2) by such a caller, Linux sends a SETATTR that
// names nothing (file_remove_privs()). WRITE has a flag besides; FALLOCATE and COPY_FILE_RANGE have none. But
// chown(path, -1, -1) sends that SETATTR as well, whoever calls it: Linux checks no permission where it is
// left to the server, and from 6.12 on tells no ids. So only the SETATTR's caller can take the bits away, by
// what he does next: nobody else's request about that file comes in between, as the client holds its inode's
// lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/task.h"
#include "oci-mount/vfs/types.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

/// For how long a client may believe `attr`, where it may believe the entry for `entry_seconds`. Set-id bits
/// of a file are asked for at each use: what takes them away can't tell so in its reply.
[[nodiscard]] std::uint64_t attr_valid_seconds(const vfs::Attr& attr, std::uint64_t entry_seconds);

/// A SETATTR of Linux's file_remove_privs(), or of chown(2) with nothing to change.
[[nodiscard]] bool names_nothing(const fuse_setattr_in& in);

/// Who may take which file's set-id bits away by what he does next. Thread-safe.
class PendingDrops {
 public:
  /// `pid`: the caller's, as the client tells it. Takes the place of who came before.
  void add(vfs::NodeId node, std::uint32_t pid);
  /// True, once, if `pid` was the last who was added for `node`. Where there were too many to remember,
  /// anybody is.
  [[nodiscard]] bool take(vfs::NodeId node, std::uint32_t pid);
  /// The client has gone.
  void clear();

 private:
  static constexpr std::size_t kMaxRemembered = 4096;

  std::mutex mutex_;  // of the map
  std::unordered_map<vfs::NodeId, std::uint32_t> pids_;
  std::atomic<std::size_t> remembered_ = 0;  // the map's size, for who has nothing to look for
  std::atomic<bool> has_forgotten_ = false;
};

/// The permission bits without what a caller of these ids may not keep; a directory keeps all. S_ISGID where
/// the group may not execute gives nobody a right: Linux leaves it to members of the group and to root. Ids
/// that no client tells are a stranger's.
[[nodiscard]] std::uint32_t without_privileges(const vfs::Attr& attr, std::uint32_t uid, std::uint32_t gid);

/// `operation`, on a file that has lost its set-id bits before.
template <typename T>
Task<Result<T>> drop_then(vfs::FileSystem& fs, Reactor& reactor, vfs::NodeId node,
                          Task<Result<T>> operation) {
  const auto attr = fs.getattr(node);
  if (!attr) co_return std::unexpected(attr.error());
  vfs::AttrChange change;
  change.mode = without_privileges(*attr, kUntoldId, kUntoldId);
  if (*change.mode != (attr->mode & kPermissionBits)) {
    auto dropped = co_await fs.setattr(reactor, node, change);
    if (!dropped) co_return std::unexpected(std::move(dropped).error());
  }
  co_return co_await std::move(operation);
}

}  // namespace layerboot::vfsd::fuse
