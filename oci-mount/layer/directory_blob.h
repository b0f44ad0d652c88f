// DirectoryBlob: the files of a walked directory, one after the other, read where they lie.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "oci-mount/base/unique_fd.h"
#include "oci-mount/layer/directory_walk.h"
#include "oci-mount/store/blob.h"

namespace layerboot::layer {

/// A file whose device, inode, size or modification time is not what the walk found is refused with EIO, so
/// nothing of one file is ever served as another's. Opens files on the caller's thread, and keeps the last
/// ones open.
class DirectoryBlob final : public store::Blob {
 public:
  static constexpr std::size_t kMaxOpenFiles = 64;

  /// `files` by stream_offset, together `size_bytes`.
  DirectoryBlob(UniqueFd directory, std::vector<WalkedFile> files, std::uint64_t size_bytes, std::string name)
      : directory_(std::move(directory)),
        files_(std::move(files)),
        size_bytes_(size_bytes),
        name_(std::move(name)) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<std::size_t>> read_at(Reactor& reactor, std::uint64_t offset,
                                    std::span<const iovec> into) const override;
  Result<std::size_t> read_blocking(std::uint64_t offset, std::span<std::byte> into) const override;
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  struct Opened {
    const WalkedFile* file;
    std::shared_ptr<const UniqueFd> fd;
  };

  [[nodiscard]] const WalkedFile& file_at(std::uint64_t offset) const;
  /// The file, found unchanged just now.
  Result<std::shared_ptr<const UniqueFd>> open(const WalkedFile& file) const;
  std::shared_ptr<const UniqueFd> find_open(const WalkedFile& file) const;
  void keep_open(const WalkedFile& file, std::shared_ptr<const UniqueFd> fd) const;

  UniqueFd directory_;
  std::vector<WalkedFile> files_;
  std::uint64_t size_bytes_;
  std::string name_;
  mutable std::mutex mutex_;
  mutable std::list<Opened> opened_;  // latest used first
};

}  // namespace layerboot::layer
