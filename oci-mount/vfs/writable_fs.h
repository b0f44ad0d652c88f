// WritableFs: the overlay behind the FileSystem seam.
#pragma once

#include <unistd.h>

#include <memory>
#include <utility>

#include "oci-mount/base/worker_pool.h"
#include "oci-mount/overlay/overlay.h"
#include "oci-mount/vfs/file_system.h"

namespace layerboot::vfs {

/// Adds syncfs(2), which blocks and so runs on a worker, and copy_file_range(2). `workers` outlives it.
class WritableFs final : public FileSystem {
 public:
  WritableFs(std::unique_ptr<overlay::Overlay> overlay, WorkerPool& workers)
      : overlay_(std::move(overlay)), workers_(workers) {}

  /// Thread-safe, as all of it; goes with this object.
  [[nodiscard]] overlay::Quota& quota() { return overlay_->quota(); }

  void reset() override { overlay_->reset(); }
  Result<Entry> lookup(NodeId parent, std::string_view name) override {
    return overlay_->lookup(parent, name);
  }
  void forget(NodeId node, std::uint64_t count) override { overlay_->forget(node, count); }
  Result<Attr> getattr(NodeId node) override { return overlay_->getattr(node); }
  Task<Result<Attr>> setattr(Reactor& reactor, NodeId node, AttrChange change) override {
    return overlay_->setattr(reactor, node, change);
  }
  Result<std::string> readlink(NodeId node) override { return overlay_->readlink(node); }
  Result<Entry> mknod(NodeId parent, std::string_view name, std::uint32_t mode, std::uint32_t rdev,
                      Caller caller) override {
    return overlay_->mknod(parent, name, mode, rdev, caller);
  }
  Result<Entry> mkdir(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller) override {
    return overlay_->mkdir(parent, name, mode, caller);
  }
  Result<Entry> symlink(NodeId parent, std::string_view name, std::string_view target,
                        Caller caller) override {
    return overlay_->symlink(parent, name, target, caller);
  }
  Result<Entry> create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                       Caller caller) override {
    return overlay_->create(parent, name, mode, exclusive, caller);
  }
  Result<Entry> tmpfile(NodeId parent, std::uint32_t mode, Caller caller) override {
    return overlay_->tmpfile(parent, mode, caller);
  }
  Result<void> unlink(NodeId parent, std::string_view name) override {
    return overlay_->unlink(parent, name);
  }
  Result<void> rmdir(NodeId parent, std::string_view name) override { return overlay_->rmdir(parent, name); }
  Task<Result<Entry>> link(Reactor& reactor, NodeId node, NodeId new_parent,
                           std::string_view new_name) override {
    return overlay_->link(reactor, node, new_parent, new_name);
  }
  Task<Result<void>> rename(Reactor& reactor, NodeId parent, std::string_view name, NodeId new_parent,
                            std::string_view new_name, std::uint32_t flags) override {
    return overlay_->rename(reactor, parent, name, new_parent, new_name, flags);
  }
  Result<void> readdir(NodeId directory, std::uint64_t cookie, bool with_nodes,
                       const AddEntry& add) override {
    return overlay_->readdir(directory, cookie, with_nodes, add);
  }
  Result<std::int64_t> try_read(NodeId node, std::uint64_t offset, std::span<const iovec> into) override {
    return overlay_->try_read(node, offset, into);
  }
  Task<Result<std::size_t>> read(Reactor& reactor, NodeId node, std::uint64_t offset,
                                 std::span<const iovec> into) override {
    return overlay_->read(reactor, node, offset, into);
  }
  Result<std::int64_t> try_write(NodeId node, std::uint64_t offset, std::span<const iovec> from,
                                 bool kill_suid_sgid) override {
    return overlay_->try_write(node, offset, from, kill_suid_sgid);
  }
  Task<Result<std::size_t>> write(Reactor& reactor, NodeId node, std::uint64_t offset,
                                  std::span<const iovec> from, bool kill_suid_sgid) override {
    return overlay_->write(reactor, node, offset, from, kill_suid_sgid);
  }
  Task<Result<void>> fsync(Reactor& reactor, NodeId node, bool data_only) override {
    return overlay_->fsync(reactor, node, data_only);
  }
  Task<Result<void>> fsyncdir(Reactor& reactor, NodeId directory, bool data_only) override {
    return overlay_->fsync(reactor, directory, data_only);
  }
  Task<Result<void>> syncfs(Reactor& reactor) override {
    int code = 0;
    co_await workers_.run(reactor, [&] { code = ::syncfs(overlay_->upper_fd()) == 0 ? 0 : errno; });
    if (code != 0) co_return fail(code);
    co_return Result<void>();
  }
  Task<Result<std::size_t>> copy_file_range(Reactor& reactor, NodeId from, std::uint64_t from_offset,
                                            NodeId to, std::uint64_t to_offset,
                                            std::uint64_t length_bytes) override;
  Task<Result<void>> fallocate(Reactor& reactor, NodeId node, std::uint32_t mode, std::uint64_t offset,
                               std::uint64_t length_bytes) override {
    return overlay_->fallocate(reactor, node, mode, offset, length_bytes);
  }
  Result<std::uint64_t> lseek(NodeId node, std::uint64_t offset, std::uint32_t whence) override {
    return overlay_->lseek(node, offset, whence);
  }
  Result<std::string> getxattr(NodeId node, std::string_view name) override {
    return overlay_->getxattr(node, name);
  }
  Result<std::string> listxattr(NodeId node) override { return overlay_->listxattr(node); }
  Task<Result<void>> setxattr(Reactor& reactor, NodeId node, std::string_view name, std::string_view value,
                              std::uint32_t flags) override {
    return overlay_->setxattr(reactor, node, name, value, flags);
  }
  Task<Result<void>> removexattr(Reactor& reactor, NodeId node, std::string_view name) override {
    return overlay_->removexattr(reactor, node, name);
  }
  Result<StatFs> statfs() override { return overlay_->statfs(); }

 private:
  std::unique_ptr<overlay::Overlay> overlay_;
  WorkerPool& workers_;
};

}  // namespace layerboot::vfs
