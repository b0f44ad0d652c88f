// The vocabulary of file operations: what crosses the seams between overlay, file system and doors. Follows
// fuse_attr, fuse_setattr_in and friends of <linux/fuse.h> in meaning, not in layout.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace layerboot::overlay {

/// As FUSE numbers nodes; 1 is the root, 0 is no node.
using NodeId = std::uint64_t;
inline constexpr NodeId kRootId = 1;

struct Time {
  std::int64_t sec = 0;
  std::uint32_t nsec = 0;
  friend bool operator==(const Time&, const Time&) = default;
};

struct Attr {
  std::uint64_t ino = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t blocks = 0;  // of 512 bytes
  Time atime;
  Time mtime;
  Time ctime;
  std::uint32_t mode = 0;  // with the type bits
  std::uint32_t nlink = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t rdev = 0;   // new_encode_dev() form
  bool is_mounted = false;  // the top of another file system than the directory that it was found in
};

/// A node given to the client, who now holds one more reference to it (FUSE's nlookup). `id` 0 with a
/// lookup means: no such name, and the client may remember that.
struct Entry {
  NodeId id = 0;
  Attr attr;
};

/// Who asks. The file system trusts the client's kernel to have checked permissions (default_permissions).
struct Caller {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::optional<std::uint32_t> also_in =
      std::nullopt;         // the directory's group, where the caller is in that, too
  std::uint32_t umask = 0;  // what a new object loses where no default ACL is in force
};

/// Beside XATTR_CREATE and XATTR_REPLACE: setting an access ACL takes S_ISGID away
/// (FUSE_SETXATTR_ACL_KILL_SGID).
inline constexpr std::uint32_t kXattrKillSgid = 1U << 31;

/// Who is behind a write, which decides what it takes away beside the bytes that stood there.
enum class Writer {
  kPrivileged,    // set-id bits stay; a security.capability goes
  kUnprivileged,  // set-id bits go too: FUSE_WRITE_KILL_SUIDGID
  kPageCache,     // the client's own pages, which come late (FUSE_WRITE_CACHE): nothing goes. What was to go,
               // the client has taken away when the bytes were written there; what it was given since then is
               // to stay
};

struct TimeChange {
  bool now = false;  // the server's clock, instead of `time`
  Time time;
};

/// What SETATTR changes: only what has a value.
struct AttrChange {
  std::optional<std::uint32_t> mode;  // permission bits
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<std::uint64_t> size_bytes;
  std::optional<TimeChange> atime;
  std::optional<TimeChange> mtime;
  bool kill_suid_sgid = false;  // FATTR_KILL_SUIDGID
};

struct StatFs {
  std::uint64_t block_size_bytes = 4096;
  std::uint64_t blocks = 0;
  std::uint64_t blocks_free = 0;
  std::uint64_t inodes = 0;
  std::uint64_t inodes_free = 0;
  std::uint32_t name_length_max = 255;
};

/// One directory entry on its way to the client.
struct Dirent {
  std::string_view name;
  std::uint64_t ino = 0;
  std::uint32_t type = 0;  // DT_*
  std::uint64_t next_cookie =
      0;  // where a listing goes on after this entry; stable while the directory changes
};

/// A file that a client has opened.
struct Opened {
  std::uint64_t handle = 0;
  bool keep_pages = true;  // what the client kept of it since it was open last is still right
};

/// Takes one entry of a listing; false: there was no room, the entry was not taken, stop.
using AddEntry = std::function<bool(const Dirent&, const Entry&)>;

}  // namespace layerboot::overlay
