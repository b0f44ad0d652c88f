#include "launcher/disk/disk_size.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <system_error>

namespace layerboot::launcher {

namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint64_t kInodeBytes = 256;
constexpr std::uint64_t kUsualBytesPerInode = 16384;  // inode_ratio of mke2fs.conf
constexpr std::uint64_t kJournalAndRoomBytes = std::uint64_t{96} << 20;

std::uint64_t whole_blocks(std::uint64_t size_bytes) {
  return (size_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

}  // namespace

Result<TreeSize> measure_tree(const std::filesystem::path& root) {
  TreeSize size;
  std::set<ino_t> counted;  // of the files with several names
  struct stat st{};
  if (::lstat(root.c_str(), &st) != 0) return errno_error(root.string());
  const dev_t device = st.st_dev;
  std::error_code code;
  std::filesystem::recursive_directory_iterator at(root, code);
  for (const std::filesystem::recursive_directory_iterator end; !code && at != end; at.increment(code)) {
    if (::lstat(at->path().c_str(), &st) != 0) return errno_error(at->path().string());
    if (st.st_dev != device) {
      at.disable_recursion_pending();
      continue;
    }
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !counted.insert(st.st_ino).second) continue;
    ++size.inodes;
    if (S_ISDIR(st.st_mode))
      size.data_bytes += std::max(whole_blocks(static_cast<std::uint64_t>(st.st_size)), kBlockBytes);
    if (S_ISREG(st.st_mode)) size.data_bytes += whole_blocks(static_cast<std::uint64_t>(st.st_size));
  }
  if (code) return fail(code.value(), "cannot walk ", root.string(), ": ", code.message());
  return size;
}

std::uint64_t inodes_for(const TreeSize& size, std::uint64_t disk_bytes) {
  return std::max(disk_bytes / kUsualBytesPerInode, size.inodes + size.inodes / 2);
}

std::uint64_t smallest_disk_bytes(const TreeSize& size) {
  // Extents, bitmaps and xattr blocks take a little of the data's size.
  const std::uint64_t content = size.data_bytes + size.data_bytes / 50;
  const std::uint64_t without_usual_inodes =
      content + (size.inodes + size.inodes / 2) * kInodeBytes + kJournalAndRoomBytes;
  // The usual number of inodes costs 1/64 of the disk.
  return whole_blocks(without_usual_inodes + without_usual_inodes / 50);
}

}  // namespace layerboot::launcher
