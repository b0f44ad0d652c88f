// ReadOnlyFs: an image's tree as it is.
#pragma once

#include "oci-mount/overlay/lower.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::vfs {

/// Every change fails with EROFS. Nothing is locked and nothing is counted: a node's id is its row in the
/// tree.
class ReadOnlyFs final : public FileSystem {
 public:
  explicit ReadOnlyFs(overlay::Lower lower);

  void reset() override {}
  Result<Entry> lookup(NodeId parent, std::string_view name) override;
  void forget(NodeId, std::uint64_t) override {}
  Result<Attr> getattr(NodeId node) override;
  Task<Result<Attr>> setattr(Reactor& reactor, NodeId node, AttrChange change) override;
  Result<std::string> readlink(NodeId node) override;
  Result<Entry> mknod(NodeId, std::string_view, std::uint32_t, std::uint32_t, Caller) override;
  Result<Entry> mkdir(NodeId, std::string_view, std::uint32_t, Caller) override;
  Result<Entry> symlink(NodeId, std::string_view, std::string_view, Caller) override;
  Result<Entry> create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                       Caller caller) override;
  Result<void> unlink(NodeId, std::string_view) override;
  Result<void> rmdir(NodeId, std::string_view) override;
  Task<Result<Entry>> link(Reactor&, NodeId, NodeId, std::string_view) override;
  Task<Result<void>> rename(Reactor&, NodeId, std::string_view, NodeId, std::string_view,
                            std::uint32_t) override;
  Result<void> readdir(NodeId directory, std::uint64_t cookie, bool with_nodes, const AddEntry& add) override;
  Result<std::int64_t> try_read(NodeId node, std::uint64_t offset, std::span<const iovec> into) override;
  Task<Result<std::size_t>> read(Reactor& reactor, NodeId node, std::uint64_t offset,
                                 std::span<const iovec> into) override;
  Task<Result<std::size_t>> write(Reactor&, NodeId, std::uint64_t, std::span<const iovec>, Writer) override;
  Task<Result<void>> fsync(Reactor& reactor, NodeId node, bool data_only) override;
  Task<Result<void>> fsyncdir(Reactor& reactor, NodeId directory, bool data_only) override;
  Task<Result<void>> syncfs(Reactor& reactor) override;
  Task<Result<void>> fallocate(Reactor&, NodeId, std::uint32_t, std::uint64_t, std::uint64_t) override;
  Result<std::uint64_t> lseek(NodeId node, std::uint64_t offset, std::uint32_t whence) override;
  Result<std::string> getxattr(NodeId node, std::string_view name) override;
  Result<std::string> listxattr(NodeId node) override;
  Result<std::string> attributed_paths(std::size_t most_bytes) override {
    return lower_.attributed_paths(most_bytes);
  }
  Task<Result<void>> setxattr(Reactor&, NodeId, std::string_view, std::string_view, std::uint32_t) override;
  Task<Result<void>> removexattr(Reactor&, NodeId, std::string_view) override;
  Result<StatFs> statfs() override;

 private:
  Result<tree::NodeId> row(NodeId node) const;
  Result<tree::NodeId> directory_row(NodeId node) const;

  overlay::Lower lower_;
};

}  // namespace layerboot::vfs
