#include "launcher/disk/disk_size.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "launcher/disk/tree_xattrs.h"
#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint64_t kInodeBytes = 256;
constexpr std::uint64_t kUsualBytesPerInode = 16384;  // inode_ratio of mke2fs.conf
constexpr std::uint64_t kJournalAndRoomBytes = std::uint64_t{96} << 20;

constexpr std::uint64_t kMaxLinks = 65000;
constexpr std::uint64_t kMaxFileBytes = ((std::uint64_t{1} << 32U) - 1) * kBlockBytes;
constexpr std::uint64_t kDirentBytes = 8;  // beside the name, which is rounded up to 4
constexpr std::uint64_t kDotEntriesBytes = 24;
constexpr std::uint64_t kMostDirentBytes = 8 + 256;
constexpr std::uint64_t kExtentsPerBlock = 300;

std::uint64_t whole_blocks(std::uint64_t size_bytes) {
  return (size_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

/// Blocks that hold some of a file with holes, and what the table of its extents takes.
Result<std::uint64_t> blocks_of_sparse(const std::filesystem::path& path, std::uint64_t size_bytes) {
  LB_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY | O_NOFOLLOW));
  std::uint64_t sum = 0;
  std::uint64_t extents = 0;
  std::uint64_t counted_to = 0;
  for (std::uint64_t at = 0; at < size_bytes;) {
    const off_t data = ::lseek(fd.get(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    const off_t hole = data < 0 ? -1 : ::lseek(fd.get(), data, SEEK_HOLE);
    if (hole < 0) return whole_blocks(size_bytes);  // it can't be told
    const std::uint64_t from =
        std::max(counted_to, static_cast<std::uint64_t>(data) / kBlockBytes * kBlockBytes);
    counted_to = whole_blocks(static_cast<std::uint64_t>(hole));
    sum += counted_to - std::min(from, counted_to);
    ++extents;
    at = static_cast<std::uint64_t>(hole);
  }
  return sum + (extents / kExtentsPerBlock + 1) * kBlockBytes;
}

class Measure {
 public:
  explicit Measure(std::filesystem::path root) : root_(std::move(root)) {}

  Result<TreeSize> run() {
    struct stat st{};
    if (::lstat(root_.c_str(), &st) != 0) return errno_error(root_.string());
    device_ = st.st_dev;
    LB_TRY(add_xattrs(root_));
    for (waiting_.push_back(root_); !waiting_.empty();) {
      const auto directory = std::move(waiting_.back());
      waiting_.pop_back();
      LB_TRY(add_directory(directory));
    }
    return size_;
  }

 private:
  template <typename... Parts>
  std::unexpected<Error> no_ext4(const std::filesystem::path& path, const Parts&... parts) const {
    return fail(ENOTSUP, "\"", printable(path.lexically_relative(root_).string()), "\" ", parts...,
                ": an ext4 can't hold it; layerboot run without --disk-image serves it as it is");
  }

  Result<void> add_directory(const std::filesystem::path& directory) {
    std::uint64_t names_bytes = kDotEntriesBytes;
    std::error_code code;
    for (std::filesystem::directory_iterator at(directory, code), end; !code && at != end;
         at.increment(code)) {
      struct stat st{};
      if (::lstat(at->path().c_str(), &st) != 0) return errno_error(at->path().string());
      if (st.st_dev != device_) continue;
      names_bytes += kDirentBytes + (at->path().filename().native().size() + 3) / 4 * 4;
      LB_TRY(add(at->path(), st));
    }
    if (code) return fail(code.value(), "cannot walk ", directory.string(), ": ", code.message());
    // At the end of each block there may be room for no more.
    const std::uint64_t blocks = names_bytes / (kBlockBytes - kMostDirentBytes) + 1;
    size_.data_bytes += blocks * kBlockBytes;
    return {};
  }

  Result<void> add(const std::filesystem::path& path, const struct stat& st) {
    const bool is_directory = S_ISDIR(st.st_mode);
    if (path == root_ / "lost+found" && !is_directory)
      return no_ext4(path, "is no directory, as the file system's own is");
    if (!is_directory && st.st_nlink > 1 && !counted_.insert(st.st_ino).second) return {};
    if (!is_directory && st.st_nlink > kMaxLinks)
      return no_ext4(path, "has ", st.st_nlink, " names, and ", kMaxLinks, " is the most");
    ++size_.inodes;
    LB_TRY(add_xattrs(path));
    if (is_directory) waiting_.push_back(path);
    const auto size_bytes = static_cast<std::uint64_t>(st.st_size);
    if (S_ISLNK(st.st_mode) && size_bytes >= kInlineSymlinkBytes) size_.data_bytes += kBlockBytes;
    if (!S_ISREG(st.st_mode)) return {};
    if (size_bytes > kMaxFileBytes)
      return no_ext4(path, "has ", size_bytes, " bytes, and ", kMaxFileBytes, " is the most");
    std::uint64_t taken = whole_blocks(size_bytes);
    if (allocated_bytes(st) < size_bytes) {
      LB_ASSIGN(taken, blocks_of_sparse(path, size_bytes));
    }
    size_.data_bytes += taken;
    return {};
  }

  Result<void> add_xattrs(const std::filesystem::path& path) {
    const auto xattrs = read_xattrs(path);
    if (!xattrs) return while_doing(xattrs.error(), path.string());
    const std::uint64_t bytes = ext4_xattr_bytes(*xattrs);
    if (bytes > kMaxExt4XattrBytes)
      return no_ext4(path, "has ", bytes, " bytes of extended attributes, and ", kMaxExt4XattrBytes,
                     " is the most");
    if (bytes > kExt4InodeXattrBytes) size_.data_bytes += kBlockBytes;
    return {};
  }

  static constexpr std::uint64_t kInlineSymlinkBytes = 60;

  std::filesystem::path root_;
  dev_t device_ = 0;
  std::vector<std::filesystem::path> waiting_;
  std::set<ino_t> counted_;  // of the files with several names
  TreeSize size_;
};

}  // namespace

Result<TreeSize> measure_tree(const std::filesystem::path& root) { return Measure(root).run(); }

std::uint64_t inodes_for(const TreeSize& size, std::uint64_t disk_bytes) {
  return std::max(disk_bytes / kUsualBytesPerInode, size.inodes + size.inodes / 2);
}

std::uint64_t smallest_disk_bytes(const TreeSize& size) {
  // Extents and bitmaps take a little of the data's size.
  const std::uint64_t content = size.data_bytes + size.data_bytes / 50;
  const std::uint64_t without_usual_inodes =
      content + (size.inodes + size.inodes / 2) * kInodeBytes + kJournalAndRoomBytes;
  // The usual number of inodes costs 1/64 of the disk.
  return whole_blocks(without_usual_inodes + without_usual_inodes / 50);
}

}  // namespace layerboot::launcher
