// Blob: the one seam between the layers and where their bytes lie.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/task.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::store {

/// Immutable bytes. Thread-safe; each call works on the reactor it is given.
class Blob {
 public:
  virtual ~Blob() = default;

  /// As it was when the blob was opened.
  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;

  /// Reads at most the list's bytes from `offset` on; gives how many, 0 only at the end. It may give
  /// fewer than asked. The list and its buffers live until the task ends.
  virtual Task<Result<std::size_t>> read_at(Reactor& reactor, std::uint64_t offset,
                                            std::span<const iovec> into) const = 0;

  /// The same, blocking the thread: for building an index, before any guest is served.
  virtual Result<std::size_t> read_blocking(std::uint64_t offset, std::span<std::byte> into) const = 0;

  /// A descriptor that gives the same bytes by pread(2) from fd_offset() on, or -1. Lent for the blob's life.
  [[nodiscard]] virtual int fd() const { return -1; }
  [[nodiscard]] virtual std::uint64_t fd_offset() const { return 0; }

  /// For messages.
  [[nodiscard]] virtual const std::string& name() const = 0;
};

/// A blob that is a file, or a part of one. The file is held open, so it can't be taken away.
class FileBlob final : public Blob {
 public:
  /// `name` is what messages call it. Only regular files are taken.
  static Result<std::shared_ptr<const FileBlob>> open(const std::filesystem::path& path, std::string name);

  /// `size_bytes` bytes of an open file from `file_offset` on. REQUIRES: they are there.
  static std::shared_ptr<const FileBlob> adopt(UniqueFd fd, std::uint64_t file_offset,
                                               std::uint64_t size_bytes, std::string name);

  /// `size_bytes` bytes of this blob from `offset` on, in place. REQUIRES: they lie within it.
  [[nodiscard]] std::shared_ptr<const FileBlob> part(std::uint64_t offset, std::uint64_t size_bytes,
                                                     std::string name) const;

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<std::size_t>> read_at(Reactor& reactor, std::uint64_t offset,
                                    std::span<const iovec> into) const override;
  Result<std::size_t> read_blocking(std::uint64_t offset, std::span<std::byte> into) const override;
  [[nodiscard]] int fd() const override { return fd_->get(); }
  [[nodiscard]] std::uint64_t fd_offset() const override { return file_offset_; }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  FileBlob(std::shared_ptr<const UniqueFd> fd, std::uint64_t file_offset, std::uint64_t size_bytes,
           std::string name)
      : fd_(std::move(fd)), file_offset_(file_offset), size_bytes_(size_bytes), name_(std::move(name)) {}

  std::shared_ptr<const UniqueFd> fd_;
  std::uint64_t file_offset_;
  std::uint64_t size_bytes_;
  std::string name_;
};

}  // namespace layerboot::store
