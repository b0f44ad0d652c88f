// TarArchive: the files within a tar on this machine, found by name and read in place. It is what
// `skopeo copy … oci-archive:` and `docker save` make. open_archive() (unpacked_archive.h) opens one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::store {

/// Immutable and thread-safe once opened. Holds the file open.
class TarArchive {
 public:
  static constexpr std::size_t kMaxMembers = 65536;
  static constexpr std::size_t kMaxLinks = 8;  // followed for one name

  /// Reads the archive's headers, and none of its data. EBADMSG for what is no tar or is cut short; the error
  /// says which. `path` is what messages call it.
  static Result<std::shared_ptr<const TarArchive>> read_from(std::shared_ptr<const FileBlob> file,
                                                             std::filesystem::path path);

  /// The file `name`, links within the archive followed: they never lead out of it. ENOENT when there is
  /// none. The blob is a part of the archive; `blob_name` is what messages call it.
  Result<std::shared_ptr<const FileBlob>> find(std::string_view name, std::string blob_name) const;
  /// Whether there is a directory `name` with something in it that find() gives.
  [[nodiscard]] bool has_directory(std::string_view name) const;
  /// The whole of a small file.
  Result<std::string> read(std::string_view name, std::size_t max_bytes) const;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  struct Member {
    std::uint64_t offset = 0;
    std::uint64_t size_bytes = 0;
    std::string link;  // clean; empty: a file
  };

  TarArchive(std::filesystem::path path, std::shared_ptr<const FileBlob> file)
      : path_(std::move(path)), file_(std::move(file)) {}
  Result<void> scan();
  Result<void> add_member(const TarHeader& header, std::uint64_t data, std::uint64_t size_bytes);
  Result<std::string> extension(std::uint64_t offset, const TarHeader& header) const;

  std::filesystem::path path_;
  std::shared_ptr<const FileBlob> file_;
  std::map<std::string, Member, std::less<>> members_;
};

}  // namespace layerboot::store
