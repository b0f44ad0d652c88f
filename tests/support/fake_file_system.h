// FakeFileSystem: a small file system in memory, for tests of the doors.
#pragma once

#include <coroutine>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/vfs/types.h"

namespace layerboot::test {

/// Thread-safe. Real enough for names, attributes, data, links and xattrs; no quota, no permissions.
class FakeFileSystem final : public vfs::FileSystem {
 public:
  FakeFileSystem();

  // ---- for tests --------------------------------------------------------------------------------
  /// Makes a file under `parent` without a client; gives its id.
  vfs::NodeId add_file(vfs::NodeId parent, const std::string& name, std::string content);
  vfs::NodeId add_directory(vfs::NodeId parent, const std::string& name);
  /// From now on, try_read() says kWouldWait and read() waits for release_reads().
  void hold_reads();
  /// Lets every waiting read go on, and the next ones through.
  void release_reads();
  [[nodiscard]] std::size_t waiting_reads() const;
  [[nodiscard]] unsigned resets() const;
  [[nodiscard]] std::uint64_t references(vfs::NodeId node) const;
  /// Every operation that can fail fails with this errno, until 0.
  void fail_with(int code);

  /// As the last operations had them; for tests on one thread.
  vfs::Caller last_caller;
  std::uint32_t last_xattr_flags = 0;
  std::optional<std::string> attributed;  // attributed_paths(); none: ENODATA
  std::uint32_t attr_changes = 0;         // that came by setattr()

  // ---- vfs::FileSystem --------------------------------------------------------------------------
  void reset() override;
  Result<vfs::Entry> lookup(vfs::NodeId parent, std::string_view name) override;
  void forget(vfs::NodeId node, std::uint64_t count) override;
  Result<vfs::Attr> getattr(vfs::NodeId node) override;
  Task<Result<vfs::Attr>> setattr(Reactor& reactor, vfs::NodeId node, vfs::AttrChange change) override;
  Result<std::string> readlink(vfs::NodeId node) override;
  Result<vfs::Entry> mknod(vfs::NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t rdev,
                           vfs::Caller caller) override;
  Result<vfs::Entry> mkdir(vfs::NodeId parent, std::string_view name, std::uint32_t mode,
                           vfs::Caller caller) override;
  Result<vfs::Entry> symlink(vfs::NodeId parent, std::string_view name, std::string_view target,
                             vfs::Caller caller) override;
  Result<vfs::Entry> create(vfs::NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                            vfs::Caller caller) override;
  Result<vfs::Entry> tmpfile(vfs::NodeId parent, std::uint32_t mode, vfs::Caller caller) override;
  Result<void> unlink(vfs::NodeId parent, std::string_view name) override;
  Result<void> rmdir(vfs::NodeId parent, std::string_view name) override;
  Task<Result<vfs::Entry>> link(Reactor& reactor, vfs::NodeId node, vfs::NodeId new_parent,
                                std::string_view new_name) override;
  Task<Result<void>> rename(Reactor& reactor, vfs::NodeId parent, std::string_view name,
                            vfs::NodeId new_parent, std::string_view new_name, std::uint32_t flags) override;
  Result<void> readdir(vfs::NodeId directory, std::uint64_t cookie, bool with_nodes,
                       const AddEntry& add) override;
  Result<std::int64_t> try_read(vfs::NodeId node, std::uint64_t offset, std::span<const iovec> into) override;
  Task<Result<std::size_t>> read(Reactor& reactor, vfs::NodeId node, std::uint64_t offset,
                                 std::span<const iovec> into) override;
  Task<Result<std::size_t>> write(Reactor& reactor, vfs::NodeId node, std::uint64_t offset,
                                  std::span<const iovec> from, overlay::Writer writer) override;
  Task<Result<void>> fsync(Reactor& reactor, vfs::NodeId node, bool data_only) override;
  Task<Result<void>> fsyncdir(Reactor& reactor, vfs::NodeId directory, bool data_only) override;
  Task<Result<void>> syncfs(Reactor& reactor) override;
  Task<Result<void>> fallocate(Reactor& reactor, vfs::NodeId node, std::uint32_t mode, std::uint64_t offset,
                               std::uint64_t length_bytes) override;
  Result<std::uint64_t> lseek(vfs::NodeId node, std::uint64_t offset, std::uint32_t whence) override;
  Result<std::string> getxattr(vfs::NodeId node, std::string_view name) override;
  Result<std::string> listxattr(vfs::NodeId node) override;
  Result<std::string> attributed_paths(std::size_t) override {
    if (!attributed) return fail(ENODATA);
    return *attributed;
  }
  Task<Result<void>> setxattr(Reactor& reactor, vfs::NodeId node, std::string_view name,
                              std::string_view value, std::uint32_t flags) override;
  Task<Result<void>> removexattr(Reactor& reactor, vfs::NodeId node, std::string_view name) override;
  Result<vfs::StatFs> statfs() override;

 private:
  struct Child {
    vfs::NodeId id = 0;
    std::uint64_t cookie = 0;
  };
  struct Node {
    vfs::Attr attr;
    std::string content;  // or a symlink's target
    std::map<std::string, Child, std::less<>> children;
    std::map<std::string, std::string, std::less<>> xattrs;
    std::uint64_t references = 0;
  };
  struct HeldRead {
    Reactor* reactor;
    std::coroutine_handle<> reader;
  };
  struct AwaitRelease;

  static constexpr std::size_t kMaxFileBytes = 64U << 20;

  Result<Node*> node(vfs::NodeId id);
  Result<Node*> directory(vfs::NodeId id);
  Result<void> check_name(std::string_view name) const;
  Result<vfs::Entry> add(vfs::NodeId parent, std::string_view name, std::uint32_t mode, vfs::Caller caller);
  void drop_if_gone(vfs::NodeId id);
  Result<void> remove(vfs::NodeId parent, std::string_view name, bool is_directory);
  Result<void> change(vfs::NodeId node, const vfs::AttrChange& change);
  Result<void> move(vfs::NodeId parent, std::string_view name, vfs::NodeId new_parent,
                    std::string_view new_name, std::uint32_t flags);
  Result<std::size_t> copy_out(vfs::NodeId node, std::uint64_t offset, std::span<const iovec> into);

  mutable std::mutex mutex_;
  std::map<vfs::NodeId, Node> nodes_;
  vfs::NodeId next_id_ = vfs::kRootId;
  std::uint64_t next_cookie_ = 3;  // after "." and ".."
  unsigned resets_ = 0;
  int fail_code_ = 0;
  bool hold_ = false;
  std::vector<HeldRead> held_;
};

}  // namespace layerboot::test
