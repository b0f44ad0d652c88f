#include "launcher/disk/ext4_disk.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "oci-mount/base/ext2fs_library.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20U;
constexpr std::size_t kFastSymlinkBytes = 60;  // i_block
constexpr std::uint64_t kMaxDirectoryLinks = 65000;
constexpr std::size_t kDirentHeaderBytes = 8;
constexpr std::size_t kDirentAlignBytes = 4;

/// libext2fs's numbers are errno's up to 255, and its own.
std::unexpected<Error> ext2_error(errcode_t code, std::string_view doing) {
  constexpr errcode_t kMaxErrno = 255;
  int number = EIO;
  if (code <= kMaxErrno) number = static_cast<int>(code);
  if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL || code == EXT2_ET_EA_NO_SPACE)
    number = ENOSPC;
  if (code == EXT2_ET_NO_MEMORY) number = ENOMEM;
  return fail(number, doing, ": ", ::error_message(code));
}

struct DiskTime {
  std::uint32_t seconds = 0;
  std::uint32_t extra = 0;  // nanoseconds, and two more bits of the seconds
};

/// From 1901 to 2446; what is outside is taken for the nearest.
DiskTime disk_time(const timespec& time) {
  constexpr std::int64_t kFirst = -(std::int64_t{1} << 31U);
  constexpr std::int64_t kLast = kFirst + (std::int64_t{1} << 34U) - 1;
  const std::int64_t seconds = std::clamp<std::int64_t>(time.tv_sec, kFirst, kLast);
  const auto low = static_cast<std::int32_t>(static_cast<std::uint64_t>(seconds) & 0xffffffffU);
  const auto epoch = static_cast<std::uint32_t>((seconds - low) >> 32U) & 3U;
  return {static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(time.tv_nsec) << 2U | epoch};
}

void put_attributes(ext2_inode_large& inode, const struct stat& st) {
  inode.i_mode = static_cast<std::uint16_t>(st.st_mode);
  inode.i_uid = static_cast<std::uint16_t>(st.st_uid & 0xffffU);
  inode.osd2.linux2.l_i_uid_high = static_cast<std::uint16_t>(st.st_uid >> 16U);
  inode.i_gid = static_cast<std::uint16_t>(st.st_gid & 0xffffU);
  inode.osd2.linux2.l_i_gid_high = static_cast<std::uint16_t>(st.st_gid >> 16U);
  const DiskTime modified = disk_time(st.st_mtim);
  // An image has no other time.
  inode.i_mtime = inode.i_atime = inode.i_ctime = inode.i_crtime = modified.seconds;
  inode.i_mtime_extra = inode.i_atime_extra = inode.i_ctime_extra = inode.i_crtime_extra = modified.extra;
  inode.i_extra_isize = sizeof(ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
}

/// As the kernel's old_encode_dev() and new_encode_dev().
void put_device(ext2_inode_large& inode, dev_t device) {
  const unsigned high = major(device);
  const unsigned low = minor(device);
  if (high < 256 && low < 256) {
    inode.i_block[0] = high << 8U | low;
  } else {
    inode.i_block[1] = (low & 0xffU) | high << 8U | (low & ~0xffU) << 12U;
  }
}

int type_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return EXT2_FT_REG_FILE;
    case S_IFDIR:
      return EXT2_FT_DIR;
    case S_IFCHR:
      return EXT2_FT_CHRDEV;
    case S_IFBLK:
      return EXT2_FT_BLKDEV;
    case S_IFIFO:
      return EXT2_FT_FIFO;
    case S_IFSOCK:
      return EXT2_FT_SOCK;
    case S_IFLNK:
      return EXT2_FT_SYMLINK;
    default:
      return EXT2_FT_UNKNOWN;
  }
}

std::size_t dirent_bytes(std::string_view name) {
  return (kDirentHeaderBytes + name.size() + kDirentAlignBytes - 1) / kDirentAlignBytes * kDirentAlignBytes;
}

bool is_zeroes(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

ext2_inode* as_small(ext2_inode_large& inode) { return reinterpret_cast<ext2_inode*>(&inode); }

}  // namespace

struct Ext4Disk::FileSystem {
  ext2_filsys handle = nullptr;
  std::vector<std::byte> piece = std::vector<std::byte>(kPieceBytes);

  FileSystem() = default;
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;
  ~FileSystem() {
    if (handle != nullptr) ::ext2fs_free(handle);
  }

  Result<ext2_inode_large> read(Inode number) const {
    ext2_inode_large inode{};
    if (const auto code = ::ext2fs_read_inode_full(handle, number, as_small(inode), sizeof(inode)); code != 0)
      return ext2_error(code, "reading an inode");
    return inode;
  }
  Result<void> write(Inode number, ext2_inode_large& inode) const {
    if (const auto code = ::ext2fs_write_inode_full(handle, number, as_small(inode), sizeof(inode));
        code != 0)
      return ext2_error(code, "writing an inode");
    return {};
  }
};

Ext4Disk::Ext4Disk(std::unique_ptr<FileSystem> fs) : fs_(std::move(fs)) {}
Ext4Disk::Ext4Disk(Ext4Disk&&) noexcept = default;
Ext4Disk& Ext4Disk::operator=(Ext4Disk&&) noexcept = default;
Ext4Disk::~Ext4Disk() = default;

Result<Ext4Disk> Ext4Disk::open(const std::filesystem::path& disk) {
  ::initialize_ext2_error_table();
  auto fs = std::make_unique<FileSystem>();
  auto code = ::ext2fs_open2(disk.c_str(), nullptr, EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0, unix_io_manager,
                             &fs->handle);
  if (code != 0) return ext2_error(code, disk.string());
  code = ::ext2fs_read_bitmaps(fs->handle);
  if (code != 0) return ext2_error(code, disk.string());
  return Ext4Disk(std::move(fs));
}

Result<Ext4Disk::Inode> Ext4Disk::add(const struct stat& st, Inode parent) {
  const ext2_filsys fs = fs_->handle;
  Inode number = 0;
  if (const auto code = ::ext2fs_new_inode(fs, parent, static_cast<int>(st.st_mode), nullptr, &number);
      code != 0)
    return ext2_error(code, "finding a free inode");
  ext2_inode_large inode{};
  put_attributes(inode, st);
  inode.i_links_count = 1;
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) put_device(inode, st.st_rdev);
  // An inode without blocks becomes one of extents with its first.
  const bool has_blocks = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
  if (has_blocks) inode.i_flags = EXT4_EXTENTS_FL;
  if (const auto code = ::ext2fs_write_new_inode(fs, number, as_small(inode)); code != 0)
    return ext2_error(code, "writing an inode");
  LB_TRY(fs_->write(number, inode));
  ::ext2fs_inode_alloc_stats2(fs, number, +1, S_ISDIR(st.st_mode) ? 1 : 0);
  if (!has_blocks) return number;
  ext2_extent_handle_t extents = nullptr;
  if (const auto code = ::ext2fs_extent_open2(fs, number, as_small(inode), &extents); code != 0)
    return ext2_error(code, "making a table of extents");
  ::ext2fs_extent_free(extents);
  LB_TRY(fs_->write(number, inode));
  return number;
}

Result<void> Ext4Disk::set_attributes(Inode number, const struct stat& st) {
  LB_ASSIGN(ext2_inode_large inode, fs_->read(number));
  put_attributes(inode, st);
  return fs_->write(number, inode);
}

Result<void> Ext4Disk::set_link_count(Inode number, std::uint64_t count) {
  LB_ASSIGN(ext2_inode_large inode, fs_->read(number));
  inode.i_links_count = static_cast<std::uint16_t>(count);
  return fs_->write(number, inode);
}

Result<void> Ext4Disk::set_xattr(Inode number, const std::string& name, std::span<const std::byte> value) {
  ext2_xattr_handle* handle = nullptr;
  auto code = ::ext2fs_xattrs_open(fs_->handle, number, &handle);
  if (code == 0) code = ::ext2fs_xattrs_read(handle);
  if (code == 0) code = ::ext2fs_xattr_set(handle, name.c_str(), value.data(), value.size());
  if (handle != nullptr) ::ext2fs_xattrs_close(&handle);
  if (code != 0) return ext2_error(code, str_cat("writing the attribute ", name));
  return {};
}

Result<void> Ext4Disk::write_range(void* opened, int fd, std::uint64_t offset, std::uint64_t end,
                                   const std::function<Result<void>(std::uint64_t)>& on_progress) {
  auto* const file = static_cast<ext2_file_t>(opened);
  const std::size_t block_bytes = fs_->handle->blocksize;
  while (offset < end) {
    const auto wanted = std::min<std::uint64_t>(fs_->piece.size(), end - offset);
    const ssize_t got = ::pread(fd, fs_->piece.data(), wanted, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("reading it");
    if (got == 0) return fail(EIO, "it is shorter than it says");
    const auto piece = std::span(fs_->piece).first(static_cast<std::size_t>(got));
    for (std::size_t at = 0; at < piece.size();) {
      // Up to the next border of a block of the file.
      const std::size_t to_border = block_bytes - (offset + at) % block_bytes;
      const auto block = piece.subspan(at, std::min(to_border, piece.size() - at));
      if (!is_zeroes(block)) {
        unsigned written = 0;
        auto code = ::ext2fs_file_llseek(file, offset + at, EXT2_SEEK_SET, nullptr);
        if (code == 0)
          code = ::ext2fs_file_write(file, block.data(), static_cast<unsigned>(block.size()), &written);
        if (code != 0) return ext2_error(code, "writing it");
      }
      at += block.size();
    }
    offset += piece.size();
    LB_TRY(on_progress(piece.size()));
  }
  return {};
}

Result<void> Ext4Disk::write_file(Inode number, int fd, std::uint64_t size_bytes,
                                  const std::function<Result<void>(std::uint64_t)>& on_progress) {
  ext2_file_t file = nullptr;
  auto code = ::ext2fs_file_open2(fs_->handle, number, nullptr, EXT2_FILE_WRITE, &file);
  if (code != 0) return ext2_error(code, "opening it");
  Result<void> done;
  for (std::uint64_t at = 0; done && at < size_bytes;) {
    const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    const off_t hole = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
    // Who knows no holes has data alone.
    const std::uint64_t from = data < 0 ? at : static_cast<std::uint64_t>(data);
    const std::uint64_t to = hole < 0 ? size_bytes : std::min(static_cast<std::uint64_t>(hole), size_bytes);
    done = write_range(file, fd, from, to, on_progress);
    at = to;
  }
  if (done) {
    code = ::ext2fs_file_set_size2(file, static_cast<ext2_off64_t>(size_bytes));
    if (code != 0) done = ext2_error(code, "setting its size");
  }
  code = ::ext2fs_file_close(file);
  if (done && code != 0) done = ext2_error(code, "writing it");
  return done;
}

Result<void> Ext4Disk::write_symlink(Inode number, std::string_view target) {
  LB_ASSIGN(ext2_inode_large inode, fs_->read(number));
  inode.i_size = static_cast<std::uint32_t>(target.size());
  if (target.size() < kFastSymlinkBytes) {
    std::memcpy(inode.i_block, target.data(), target.size());
    return fs_->write(number, inode);
  }
  inode.i_flags |= EXT4_EXTENTS_FL;
  LB_TRY(fs_->write(number, inode));
  blk64_t block = 0;
  auto code = ::ext2fs_bmap2(fs_->handle, number, as_small(inode), nullptr, BMAP_ALLOC, 0, nullptr, &block);
  if (code != 0) return ext2_error(code, "finding a free block");
  std::vector<char> bytes(fs_->handle->blocksize);
  std::copy(target.begin(), target.end(), bytes.begin());
  code = ::io_channel_write_blk64(fs_->handle->io, block, 1, bytes.data());
  if (code != 0) return ext2_error(code, "writing it");
  return fs_->write(number, inode);
}

Result<void> Ext4Disk::write_block_of_names(Inode number, std::uint64_t block_number,
                                            std::vector<char>& block) {
  const ext2_filsys fs = fs_->handle;
  LB_ASSIGN(ext2_inode_large inode, fs_->read(number));
  blk64_t at = 0;
  auto code = ::ext2fs_bmap2(fs, number, as_small(inode), nullptr, BMAP_ALLOC, block_number, nullptr, &at);
  if (code != 0) return ext2_error(code, "finding a free block");
  const std::uint64_t size = std::max<std::uint64_t>(EXT2_I_SIZE(&inode), (block_number + 1) * fs->blocksize);
  code = ::ext2fs_inode_size_set(fs, as_small(inode), static_cast<ext2_off64_t>(size));
  if (code != 0) return ext2_error(code, "setting a directory's size");
  LB_TRY(fs_->write(number, inode));
  code = ::ext2fs_write_dir_block4(fs, at, block.data(), 0, number);
  if (code != 0) return ext2_error(code, "writing a directory");
  return {};
}

Result<void> Ext4Disk::write_directory(Inode number, Inode parent, std::span<const Name> names) {
  const ext2_filsys fs = fs_->handle;
  const std::size_t tail_bytes =
      ::ext2fs_has_feature_metadata_csum(fs->super) != 0 ? sizeof(ext2_dir_entry_tail) : 0;
  const std::size_t room = fs->blocksize - tail_bytes;
  std::vector<char> block(fs->blocksize);
  std::uint64_t block_number = 0;
  std::size_t used = 0;
  ext2_dir_entry* last = nullptr;
  std::uint64_t subdirectories = 0;
  const auto flush = [&]() -> Result<void> {
    const auto begin = static_cast<std::size_t>(reinterpret_cast<char*>(last) - block.data());
    ::ext2fs_set_rec_len(fs, static_cast<unsigned>(room - begin), last);
    if (tail_bytes != 0) ::ext2fs_initialize_dirent_tail(fs, EXT2_DIRENT_TAIL(block.data(), fs->blocksize));
    LB_TRY(write_block_of_names(number, block_number++, block));
    std::ranges::fill(block, '\0');
    used = 0;
    return {};
  };
  const auto put = [&](std::string_view name, Inode to, mode_t mode) -> Result<void> {
    const std::size_t needed = dirent_bytes(name);
    if (used + needed > room) LB_TRY(flush());
    last = reinterpret_cast<ext2_dir_entry*>(block.data() + used);
    last->inode = to;
    ::ext2fs_set_rec_len(fs, static_cast<unsigned>(needed), last);
    ::ext2fs_dirent_set_name_len(last, static_cast<int>(name.size()));
    ::ext2fs_dirent_set_file_type(last, type_of(mode));
    std::copy(name.begin(), name.end(), block.data() + used + kDirentHeaderBytes);
    used += needed;
    return {};
  };
  LB_TRY(put(".", number, S_IFDIR));
  LB_TRY(put("..", parent, S_IFDIR));
  for (const Name& name : names) {
    subdirectories += S_ISDIR(name.mode) ? 1 : 0;
    LB_TRY(put(name.name, name.inode, name.mode));
  }
  LB_TRY(flush());
  // By the feature dir_nlink, 1 is "many".
  const std::uint64_t links = subdirectories + 2;
  return set_link_count(number, links > kMaxDirectoryLinks ? 1 : links);
}

Result<Ext4Disk::Inode> Ext4Disk::lost_and_found() const {
  constexpr std::string_view kName = "lost+found";
  Inode number = 0;
  const auto code =
      ::ext2fs_lookup(fs_->handle, kRoot, kName.data(), static_cast<int>(kName.size()), nullptr, &number);
  if (code != 0) return ext2_error(code, "looking for /lost+found");
  return number;
}

Result<void> Ext4Disk::close() {
  const auto code = ::ext2fs_close_free(&fs_->handle);
  if (code != 0) return ext2_error(code, "writing the file system");
  return {};
}

}  // namespace layerboot::launcher
