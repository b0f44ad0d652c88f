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

  /// A descriptor that gives the same bytes by pread(2), or -1. Lent for the blob's life.
  [[nodiscard]] virtual int fd() const { return -1; }

  /// For messages.
  [[nodiscard]] virtual const std::string& name() const = 0;
};

/// A blob that is a file.
class FileBlob final : public Blob {
 public:
  /// `name` is what messages call it. Only regular files are taken.
  static Result<std::shared_ptr<const FileBlob>> open(const std::filesystem::path& path, std::string name);

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<std::size_t>> read_at(Reactor& reactor, std::uint64_t offset,
                                    std::span<const iovec> into) const override;
  Result<std::size_t> read_blocking(std::uint64_t offset, std::span<std::byte> into) const override;
  [[nodiscard]] int fd() const override { return fd_.get(); }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  FileBlob(UniqueFd fd, std::uint64_t size_bytes, std::string name)
      : fd_(std::move(fd)), size_bytes_(size_bytes), name_(std::move(name)) {}

  UniqueFd fd_;
  std::uint64_t size_bytes_;
  std::string name_;
};

}  // namespace layerboot::store
