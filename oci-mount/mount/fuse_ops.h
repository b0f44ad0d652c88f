// The kernel's requests, as libfuse calls back with them, handed to a FileSystem.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/task.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::mount {

/// What the callbacks work on: the session's userdata. Lives as long as the session and its tasks.
struct Door {
  vfs::FileSystem& fs;
  Reactor* reactor = nullptr;  // while it is served
  bool read_only = true;
  bool reads_all = false;             // permissions are not checked: one user reads everything
  bool heeds_acls = false;            // the kernel obeys POSIX ACLs, and leaves the umask to us
  bool initialised = false;           // the kernel has said FUSE_INIT
  bool opens_without_asking = false;  // the kernel takes ENOSYS to OPEN as "never ask again"
  bool lists_without_asking = false;  // the same for OPENDIR
  std::size_t in_flight = 0;          // tasks that have yet to reply
  std::function<void()> on_idle;      // called when the last of them has
  std::vector<std::byte> scratch;     // for replies that are sent before the callback returns
};

/// Runs `task` and gives its result to `reply`, which also keeps alive what the task borrows.
template <typename T, typename Reply>
void run(Door& door, Task<Result<T>> task, Reply reply) {
  ++door.in_flight;
  start(std::move(task), [&door, reply = std::move(reply)](Result<T> result) {
    reply(result);
    if (--door.in_flight == 0 && door.on_idle) door.on_idle();
  });
}

[[nodiscard]] inline Door& door_of(fuse_req_t request) {
  return *static_cast<Door*>(::fuse_req_userdata(request));
}

/// The callbacks; userdata is a Door.
[[nodiscard]] fuse_lowlevel_ops fuse_operations();

/// Their two halves: names and attributes; data and listings.
void set_name_operations(fuse_lowlevel_ops& operations);
void set_data_operations(fuse_lowlevel_ops& operations);

}  // namespace layerboot::mount
