// FileSystem: the operations that every door drives. Overlay is one implementation; the floor above
// has those for images without an upper and for shared directories; tests have a fake.
//
// Trust: names, ids, offsets and sizes come from a guest and may be anything; every method checks them. Names
// are single components; a method fails with EINVAL on "", ".", "..", a '/' or NUL, ENAMETOOLONG over 255
// bytes. Handles: every method takes a node. Where the client is alone, doors answer OPEN and OPENDIR with
// ENOSYS (zero-message open); of files that others use as well open_file() and release_file() are told. An
// unlinked node stays usable until forget() has taken back its last reference. Waiting: what can't wait is a
// plain function; what can is a Task that runs on the reactor it is given. Thread-safe: all methods, from any
// thread. `name`, `value`, buffers and iovecs are borrowed until the call returns (plain functions) or the
// task ends. Errors are errnos of the man pages of the system calls; unknown node: ESTALE. Every optional
// operation fails with EOPNOTSUPP unless overridden, never with ENOSYS, which a FUSE client would remember
// for good.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/task.h"
#include "oci-mount/overlay/types.h"

namespace layerboot::overlay {

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  /// Another client than the first starts afresh (FUSE_INIT): every reference and all state of a former one
  /// is gone.
  virtual void reset() = 0;
  /// The last call: no client is there any more, and none will be. Leaves on the host, durably, what makes
  /// the next start short.
  virtual Result<void> stop() { return {}; }

  // ---- nodes -------------------------------------------------------------------------------------------
  /// The child `name`; Entry{} (id 0) where there is none. "." and ".." are not names here.
  virtual Result<Entry> lookup(NodeId parent, std::string_view name) = 0;
  /// Takes back `count` references. Never fails: unknown ids are ignored.
  virtual void forget(NodeId node, std::uint64_t count) = 0;
  virtual Result<Attr> getattr(NodeId node) = 0;
  virtual Task<Result<Attr>> setattr(Reactor& reactor, NodeId node, AttrChange change) = 0;
  virtual Result<std::string> readlink(NodeId node) = 0;

  // ---- names; each that makes a node returns it with one reference
  // ------------------------------------------
  virtual Result<Entry> mknod(NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t rdev,
                              Caller caller) = 0;
  virtual Result<Entry> mkdir(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller) = 0;
  virtual Result<Entry> symlink(NodeId parent, std::string_view name, std::string_view target,
                                Caller caller) = 0;
  /// A regular file; EEXIST if the name is taken and `exclusive`, else the existing one.
  virtual Result<Entry> create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                               Caller caller) = 0;
  /// A nameless regular file (O_TMPFILE), to be linked or forgotten.
  virtual Result<Entry> tmpfile(NodeId parent, std::uint32_t mode, Caller caller);
  virtual Result<void> unlink(NodeId parent, std::string_view name) = 0;
  virtual Result<void> rmdir(NodeId parent, std::string_view name) = 0;
  virtual Task<Result<Entry>> link(Reactor& reactor, NodeId node, NodeId new_parent,
                                   std::string_view new_name) = 0;
  /// `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT of <linux/fs.h>; the last leaves a character
  /// device 0:0 that the client sees.
  virtual Task<Result<void>> rename(Reactor& reactor, NodeId parent, std::string_view name, NodeId new_parent,
                                    std::string_view new_name, std::uint32_t flags) = 0;

  // ---- directories
  // -----------------------------------------------------------------------------------------
  /// Gives entries from `cookie` on (0 is the start) to `add`, "." and ".." first, until `add` returns false
  /// (that entry was not taken). With `with_nodes`, each Entry is filled and carries one reference if taken,
  /// except for "." and ".."; otherwise its id is 0.
  using AddEntry = overlay::AddEntry;
  virtual Result<void> readdir(NodeId directory, std::uint64_t cookie, bool with_nodes,
                               const AddEntry& add) = 0;

  // ---- open files
  /// `flags` as open(2); only O_RDONLY, O_WRONLY and O_RDWR count. Given back by release_file(), which
  /// ignores what is not open.
  virtual Result<Opened> open_file(NodeId, std::uint32_t /*flags*/) { return Opened{}; }
  virtual void release_file(NodeId, std::uint64_t /*handle*/) {}

  // ---- data
  // ------------------------------------------------------------------------------------------------
  /// Fills `into` from `offset` on, if that needs no waiting: gives the byte count (short only at the end of
  /// the file) or an error. kWouldWait when read() has to be used. Does not allocate on success.
  static constexpr std::int64_t kWouldWait = -1;
  virtual Result<std::int64_t> try_read(NodeId node, std::uint64_t offset, std::span<const iovec> into) = 0;
  virtual Task<Result<std::size_t>> read(Reactor& reactor, NodeId node, std::uint64_t offset,
                                         std::span<const iovec> into) = 0;
  /// write() where that needs no waiting worth mentioning: all of `from` was written, or an error, or
  /// kWouldWait when write() has to be used (which may then write again what was written already).
  virtual Result<std::int64_t> try_write(NodeId, std::uint64_t, std::span<const iovec>, Writer) {
    return kWouldWait;
  }
  /// All of `from` at `offset`, or an error. What else a write takes away depends on the writer.
  virtual Task<Result<std::size_t>> write(Reactor& reactor, NodeId node, std::uint64_t offset,
                                          std::span<const iovec> from, Writer writer) = 0;
  virtual Task<Result<void>> fsync(Reactor& reactor, NodeId node, bool data_only) = 0;
  virtual Task<Result<void>> fsyncdir(Reactor& reactor, NodeId directory, bool data_only) = 0;
  /// Everything written so far is durable (SYNCFS).
  virtual Task<Result<void>> syncfs(Reactor& reactor) = 0;
  /// `mode` as fallocate(2).
  virtual Task<Result<void>> fallocate(Reactor& reactor, NodeId node, std::uint32_t mode,
                                       std::uint64_t offset, std::uint64_t length_bytes) = 0;
  /// SEEK_DATA and SEEK_HOLE.
  virtual Result<std::uint64_t> lseek(NodeId node, std::uint64_t offset, std::uint32_t whence) = 0;
  /// Set-id bits of `to` stay: a client whose caller may not keep them has had them taken away before.
  virtual Task<Result<std::size_t>> copy_file_range(Reactor& reactor, NodeId from, std::uint64_t from_offset,
                                                    NodeId to, std::uint64_t to_offset,
                                                    std::uint64_t length_bytes);

  // ---- extended attributes
  // -----------------------------------------------------------------------------------
  virtual Result<std::string> getxattr(NodeId node, std::string_view name) = 0;
  /// Names, each followed by a NUL; "" where there are none.
  virtual Result<std::string> listxattr(NodeId node) = 0;
  /// Where objects have attributes, in a file system in which that never changes: the paths below the root
  /// ("usr/bin/ping"), of a file all names, with a NUL behind each. ENODATA in any other, E2BIG past
  /// `most_bytes`.
  virtual Result<std::string> attributed_paths([[maybe_unused]] std::size_t most_bytes) {
    return fail(ENODATA);
  }
  /// `flags`: XATTR_CREATE, XATTR_REPLACE, kXattrKillSgid. An access ACL changes the mode with it.
  virtual Task<Result<void>> setxattr(Reactor& reactor, NodeId node, std::string_view name,
                                      std::string_view value, std::uint32_t flags) = 0;
  virtual Task<Result<void>> removexattr(Reactor& reactor, NodeId node, std::string_view name) = 0;

  // ---- the whole
  // -------------------------------------------------------------------------------------------
  virtual Result<StatFs> statfs() = 0;
  /// Of what the node lies on, where that may differ.
  virtual Result<StatFs> statfs_at(NodeId) { return statfs(); }
};

}  // namespace layerboot::overlay
