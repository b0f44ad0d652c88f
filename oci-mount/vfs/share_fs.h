// ShareFs: a directory of the host, served as it is. What the client writes is there for everybody on the
// host, and what others write the client sees.
//
// Nothing is remembered of an object but where it was and which one it was: its client must not remember
// more, nor for long (fuse::SessionOptions::shared). A descriptor is kept of what the client has open, and of
// what has lost its name. No symlink is followed; what is mounted in the directory is entered, but for proc
// and its like (base/kernel_file_systems.h): EACCES. Nothing is made with rights of its own, and all that is
// made is its maker's (share_nature.h). Extended attributes: user.*.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "oci-mount/base/worker_pool.h"
#include "oci-mount/vfs/share_nature.h"
#include "oci-mount/vfs/share_nodes.h"
#include "oci-mount/vfs/share_opens.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::vfs {

struct ShareOptions {
  std::filesystem::path directory;
  IdMap ids = {};  // for root's daemon alone: EPERM elsewhere
  /// No file is opened for writing, and the host is asked to sync nothing; the other changes are for the
  /// caller to refuse.
  bool read_only = false;
  /// What the client may have open, with files whose name is gone: ENFILE beyond it.
  std::size_t max_descriptors = kDefaultDescriptors;

  static constexpr std::size_t kDefaultDescriptors = 16'384;
};

/// Thread-safe: one lock guards what is known of objects; it is never held while a Task waits.
class ShareFs final : public FileSystem {
 public:
  /// Objects that are synced one by one.
  static constexpr std::size_t kMaxChanged = 4096;

  /// Opens the directory, which must be there. REQUIRES: the process has no umask. `workers` and `memory`,
  /// which pays for what is known of objects, outlive the file system.
  static Result<std::unique_ptr<ShareFs>> open(const ShareOptions& options, WorkerPool& workers,
                                               MemoryBudget& memory);

  void reset() override;
  Result<Entry> lookup(NodeId parent, std::string_view name) override;
  void forget(NodeId node, std::uint64_t count) override;
  Result<Attr> getattr(NodeId node) override;
  Task<Result<Attr>> setattr(Reactor& reactor, NodeId node, AttrChange change) override;
  Result<std::string> readlink(NodeId node) override;

  /// EPERM for device nodes.
  Result<Entry> mknod(NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t rdev,
                      Caller caller) override;
  Result<Entry> mkdir(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller) override;
  Result<Entry> symlink(NodeId parent, std::string_view name, std::string_view target,
                        Caller caller) override;
  Result<Entry> create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                       Caller caller) override;
  Result<Entry> tmpfile(NodeId parent, std::uint32_t mode, Caller caller) override;
  Result<void> unlink(NodeId parent, std::string_view name) override;
  Result<void> rmdir(NodeId parent, std::string_view name) override;
  Task<Result<Entry>> link(Reactor& reactor, NodeId node, NodeId new_parent,
                           std::string_view new_name) override;
  /// EINVAL for RENAME_WHITEOUT, which would leave a device node.
  Task<Result<void>> rename(Reactor& reactor, NodeId parent, std::string_view name, NodeId new_parent,
                            std::string_view new_name, std::uint32_t flags) override;

  Result<void> readdir(NodeId directory, std::uint64_t cookie, bool with_nodes, const AddEntry& add) override;

  /// A file is opened for what is asked and no more, and closed with its last release.
  Result<Opened> open_file(NodeId node, std::uint32_t flags) override;
  void release_file(NodeId node, std::uint64_t handle) override;
  Result<std::int64_t> try_read(NodeId node, std::uint64_t offset, std::span<const iovec> into) override;
  Task<Result<std::size_t>> read(Reactor& reactor, NodeId node, std::uint64_t offset,
                                 std::span<const iovec> into) override;
  Task<Result<std::size_t>> write(Reactor& reactor, NodeId node, std::uint64_t offset,
                                  std::span<const iovec> from, Writer writer) override;
  Task<Result<void>> fsync(Reactor& reactor, NodeId node, bool data_only) override;
  Task<Result<void>> fsyncdir(Reactor& reactor, NodeId directory, bool data_only) override;
  /// Makes durable what the client has changed since the last time: object by object, up to kMaxChanged; of
  /// more, the file systems that they are on.
  Task<Result<void>> syncfs(Reactor& reactor) override;
  Task<Result<void>> fallocate(Reactor& reactor, NodeId node, std::uint32_t mode, std::uint64_t offset,
                               std::uint64_t length_bytes) override;
  Result<std::uint64_t> lseek(NodeId node, std::uint64_t offset, std::uint32_t whence) override;

  Result<std::string> getxattr(NodeId node, std::string_view name) override;
  Result<std::string> listxattr(NodeId node) override;
  Task<Result<void>> setxattr(Reactor& reactor, NodeId node, std::string_view name, std::string_view value,
                              std::uint32_t flags) override;
  Task<Result<void>> removexattr(Reactor& reactor, NodeId node, std::string_view name) override;

  Result<StatFs> statfs() override { return statfs_at(kRootId); }
  Result<StatFs> statfs_at(NodeId node) override;

 private:
  using Fd = overlay::SharedFd;
  struct NewObject {
    std::uint32_t mode = 0;
    std::string_view target;  // of a symlink
    Caller caller;
  };

  ShareFs(UniqueFd root, const Seen& seen, const ShareOptions& options, WorkerPool& workers,
          MemoryBudget& memory);

  // ---- all of it runs under mutex_ ----
  // Nodes and names (share_fs.cc)
  struct Reached {
    UniqueFd fd;
    Seen seen;
  };
  Result<Reached> reach(ShareNode& node, int flags, Want want);
  Result<UniqueFd> open_node(ShareNode& node, int flags, Want want = Want::kSee);
  Result<UniqueFd> open_directory(NodeId id, ShareNodePtr& node, Want want);
  Result<Seen> look(int directory_fd, std::string_view name);
  Result<Entry> give(const ShareNodePtr& node, overlay::Place place, Seen seen);
  Result<Entry> enter(const ShareNodePtr& parent, int directory_fd, std::string_view name,
                      ShareNodes::Room room = ShareNodes::Room::kAsk);
  Result<Attr> attr_of(ShareNode& node);
  Fd hold(const Seen& seen);
  void lose_name(const Seen& seen, const ShareNodePtr& parent, std::string_view name, Fd held);
  [[nodiscard]] bool has_room() const;
  Result<void> ask_for_room(int directory_fd, std::string_view name, std::int64_t bytes);
  [[nodiscard]] std::int64_t growth_by_rename(const Seen& moved, const ShareNodePtr& to,
                                              std::string_view new_name, const Result<Seen>& there,
                                              std::string_view others_name) const;
  Result<void> rename_now(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
                          std::uint32_t flags);
  Result<Entry> link_now(NodeId id, NodeId new_parent, std::string_view new_name);

  // New objects (share_new.cc)
  Result<Entry> make(NodeId parent, std::string_view name, NewObject object);
  static Result<UniqueFd> make_body(int directory_fd, const std::string& name, const NewObject& object,
                                    std::uint32_t mode);
  Result<UniqueFd> make_as_caller(int directory_fd, const std::string& name, const NewObject& object);
  Result<UniqueFd> make_and_note(ShareNode& directory, int directory_fd, const std::string& name,
                                 NewObject object);

  // Data and attributes (share_data.cc)
  Result<Fd> open_anew(ShareNode& node, int access);
  Result<Fd> readable(NodeId id);
  Result<Fd> writable(NodeId id);
  Result<void> apply(const ShareNodePtr& node, const AttrChange& change);
  Result<UniqueFd> open_for_xattrs(NodeId id, std::string_view name, Want want);

  // What syncfs() is for (share_sync.cc)
  struct Changes {
    std::unordered_map<NodeId, ShareNodePtr> objects;
    std::unordered_map<std::uint64_t, ShareNodePtr> whole;  // tops of mounts
  };
  void note_change(const ShareNodePtr& node);
  void note_change(NodeId id);
  void note_whole_mounts();
  void drop_change(const ShareNodePtr& node, bool has_other_names);
  template <typename Map>
  void unpin(const Map& nodes);
  int sync_changes();
  Result<UniqueFd> open_to_sync(ShareNode& node);

  const UniqueFd root_;
  const Keeper keeper_;
  const std::uint64_t root_mount_;
  const bool read_only_;
  const std::size_t max_descriptors_;
  WorkerPool& workers_;

  std::mutex mutex_;
  ShareNodes nodes_;
  ShareOpens opens_;
  Changes changes_;
};

}  // namespace layerboot::vfs
