// Session: a FileSystem mounted on a directory of this machine, served on a Reactor.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/mount/fuse_ops.h"
#include "oci-mount/mount/mount_keeper.h"
#include "oci-mount/vfs/types.h"

struct fuse_session;

namespace layerboot::mount {

struct SessionOptions {
  std::string mountpoint;   // an existing directory
  std::string source_name;  // what mount(8) and df(1) show
  bool read_only = true;
  bool allow_other = false;  // users other than this one may enter
  bool read_all = false;     // the kernel checks no permissions; not together with allow_other
};

/// One thread: the reactor's. Unmounts when it ends, however it ends.
class Session {
 public:
  /// Mounts. Needs /dev/fuse, and root or fusermount3. SIGINT, SIGTERM and SIGHUP must be blocked in every
  /// thread: the session takes them. `fs` outlives it.
  static Result<std::unique_ptr<Session>> mount(vfs::FileSystem& fs, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Leaves it to a process of its own to unmount, as long as this one still may start one. To be served no
  /// writes: what is kept for later would be lost.
  Result<void> hand_over_unmounting();

  /// Serves until a signal comes or the mount is taken away. `on_ready` is called once, when the
  /// kernel has been answered and the mount is of use.
  Result<void> serve(Reactor& reactor, std::function<void()> on_ready);

 private:
  /// Requests taken before completions get their turn.
  static constexpr int kMaxBurst = 64;

  struct SessionDeleter {
    void operator()(fuse_session* session) const;
  };
  struct Buffer;

  explicit Session(vfs::FileSystem& fs);
  void take_requests();
  void end();

  Reactor* reactor_ = nullptr;
  Door door_;
  std::unique_ptr<Buffer> buffer_;
  std::unique_ptr<fuse_session, SessionDeleter> session_;
  UniqueFd signals_;
  std::string mountpoint_;
  std::optional<MountKeeper> keeper_;
  std::function<void()> on_ready_;
  bool mounted_ = false;
  bool ending_ = false;
  bool burst_posted_ = false;
  int failure_ = 0;
};

}  // namespace layerboot::mount
