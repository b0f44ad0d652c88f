// Content: where an image's documents and blobs lie, found by digest: a layout's directory, an archive,
// containerd's content store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/lease.h"
#include "oci-mount/store/tar_archive.h"

namespace layerboot::store {

/// Immutable.
class Content {
 public:
  virtual ~Content() = default;

  /// A document, checked against its digest. `what` names its kind in errors.
  Result<std::string> read_document(const Digest& digest, std::uint64_t size_bytes, std::size_t max_bytes,
                                    std::string_view what) const;

  /// The bytes of a small blob, unchecked.
  virtual Result<std::string> read_blob(const Digest& digest, std::size_t max_bytes) const = 0;
  /// Fills in where the layer `layer.blob` lies.
  virtual Result<void> place(ImageLayer& layer) const = 0;
  /// What keeps the image with this manifest from being removed, while it is held; null where nothing can, or
  /// need.
  virtual Result<Lease> lease([[maybe_unused]] const Digest& manifest) const { return Lease(); }
  /// For messages.
  [[nodiscard]] virtual std::string where() const = 0;
  /// What to do about a document that is not there or damaged, for messages.
  [[nodiscard]] virtual std::string remedy() const { return "fetch the image again"; }
};

/// Blobs as files at DIRECTORY/ALGORITHM/HEX.
class DirectoryContent final : public Content {
 public:
  /// With `hold_open` a layer is opened as soon as it is placed, so that nobody's garbage collection takes
  /// it.
  DirectoryContent(std::filesystem::path blobs, bool hold_open)
      : blobs_(std::move(blobs)), hold_open_(hold_open) {}

  Result<std::string> read_blob(const Digest& digest, std::size_t max_bytes) const override;
  Result<void> place(ImageLayer& layer) const override;
  Result<Lease> lease(const Digest& manifest) const override;
  [[nodiscard]] std::string where() const override { return blobs_.string(); }
  [[nodiscard]] std::filesystem::path path_of(const Digest& digest) const;

 private:
  std::filesystem::path blobs_;
  bool hold_open_;
};

/// An OCI layout within a tar.
class ArchiveContent final : public Content {
 public:
  explicit ArchiveContent(std::shared_ptr<const TarArchive> archive) : archive_(std::move(archive)) {}

  Result<std::string> read_blob(const Digest& digest, std::size_t max_bytes) const override;
  Result<void> place(ImageLayer& layer) const override;
  [[nodiscard]] std::string where() const override { return archive_->path().string(); }

 private:
  std::shared_ptr<const TarArchive> archive_;
};

}  // namespace layerboot::store
