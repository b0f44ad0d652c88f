// The objects of an upper as they are kept, to be read: in a directory of the host, or on a disk that a guest
// has written by an overlayfs of its own. Reads, and changes nothing.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/redirects.h"

namespace layerboot::mount {

/// The bytes of a regular file.
class UpperData {
 public:
  virtual ~UpperData() = default;
  /// As pread(2): 0 at the end.
  virtual Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) = 0;
};

/// Name and value.
using XattrList = std::vector<std::pair<std::string, std::string>>;

class UpperObject {
 public:
  explicit UpperObject(const struct stat& st) : st_(st) {}
  virtual ~UpperObject() = default;

  /// As it is kept: type, size and times, and of what is no directory the number of links and the inode.
  [[nodiscard]] const struct stat& st() const { return st_; }
  /// As the guest sees it.
  [[nodiscard]] virtual Result<overlay::Nature> nature() const = 0;
  /// The guest's, in no order.
  [[nodiscard]] virtual Result<XattrList> xattrs() const = 0;
  [[nodiscard]] virtual Result<std::string> link_target() const = 0;

  /// Of a directory: what overlayfs marks it with.
  [[nodiscard]] virtual Result<bool> is_opaque() const = 0;
  [[nodiscard]] virtual Result<std::optional<std::string>> redirect() const = 0;
  /// Of a regular file, whose own data open() reads.
  [[nodiscard]] virtual Result<overlay::DataSource> data_source(const overlay::MergedName& merged) const = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<UpperData>> open() const = 0;

 private:
  struct stat st_;
};

class UpperDirectory {
 public:
  virtual ~UpperDirectory() = default;

  struct Entry {
    std::string name;
    bool is_whiteout = false;
  };
  /// Without "." and "..", in no order. What is gone by the time it is looked at is left out.
  [[nodiscard]] virtual Result<std::vector<Entry>> entries() const = 0;
  /// The directory itself.
  [[nodiscard]] virtual Result<std::unique_ptr<UpperObject>> itself() const = 0;
  /// An entry. May not outlive the directory.
  [[nodiscard]] virtual Result<std::unique_ptr<UpperObject>> object(const std::string& name) const = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<UpperDirectory>> enter(const std::string& name) const = 0;
};

/// An upper as it lies there.
struct SeenUpper {
  std::shared_ptr<const UpperDirectory> root;
  /// Directories that hide all that root and image have at these paths ("/var/lib/docker"), and know nothing
  /// of overlayfs: what looks like a mark in them is the guest's.
  std::map<std::string, std::shared_ptr<const UpperDirectory>, std::less<>> plain;
  bool is_disk = false;  // a guest's own, who may have written anything there
};

/// `path` is a directory that vfsd's --upper named, or the disk of a VM with --upper disk. EINVAL where it is
/// neither, or of another image than `image_identity` (Image::chain_id's text). Of a disk the file beside it
/// whose name ends in ".image" says which image it is of.
Result<SeenUpper> see_upper(const std::filesystem::path& path, std::string_view image_identity);

/// An upper on the host, whose top is `root`.
std::unique_ptr<UpperDirectory> host_upper(overlay::Keeping keeping, UniqueFd root);
/// The disk's. EUCLEAN where its journal has to be replayed first, or the file system is damaged.
Result<SeenUpper> disk_upper(const std::filesystem::path& disk);

}  // namespace layerboot::mount
