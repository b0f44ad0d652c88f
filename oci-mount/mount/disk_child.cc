#include "oci-mount/mount/disk_child.h"

#include <malloc.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <climits>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/ext2fs_library.h"
#include "oci-mount/base/walls.h"
#include "oci-mount/mount/disk_messages.h"

namespace layerboot::mount {

namespace {

/// s_start of the journal's own super block (journal.rst): 0 when there is nothing in it.
constexpr std::size_t kJournalStartOffset = 0x1c;
constexpr std::uint32_t kJournalMagic = 0xc03b3998;

std::unexpected<Error> ext2_error(errcode_t code, std::string_view what) {
  if (code > 0 && code < ENOTSUP * 2) return fail(static_cast<int>(code), what);
  return fail(EUCLEAN, what, ": ", ::error_message(code));
}

using Bytes = std::vector<std::byte>;

void append(Bytes& to, std::span<const std::byte> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

class Ext4 {
 public:
  Ext4() = default;
  Ext4(const Ext4&) = delete;
  Ext4& operator=(const Ext4&) = delete;
  ~Ext4() {
    close_file();
    if (handle_ != nullptr) ::ext2fs_free(handle_);
  }

  Result<void> open(const std::string& name) {
    ::initialize_ext2_error_table();
    const auto code = ::ext2fs_open2(str_cat(static_cast<int>(kChildDiskFd)).c_str(), nullptr,
                                     EXT2_FLAG_64BITS, 0, 0, unixfd_io_manager, &handle_);
    if (code != 0) return ext2_error(code, name);
    return check_is_settled(name);
  }

  Result<ext2_inode_large> inode(ext2_ino_t number) {
    ext2_inode_large inode{};
    const auto code =
        ::ext2fs_read_inode_full(handle_, number, reinterpret_cast<ext2_inode*>(&inode), sizeof(inode));
    if (code != 0) return ext2_error(code, "reading an inode");
    return inode;
  }

  Result<Bytes> names(ext2_ino_t number) {
    Bytes names;
    const auto take = [](ext2_ino_t, int, ext2_dir_entry* entry, int, int, char*, void* into) {
      auto& found = *static_cast<Bytes*>(into);
      DiskName name;
      name.inode = entry->inode;
      name.name_bytes = static_cast<std::uint16_t>(::ext2fs_dirent_name_len(entry));
      name.type = static_cast<std::uint16_t>(::ext2fs_dirent_file_type(entry));
      append(found, object_bytes(name));
      append(found, as_bytes({entry->name, name.name_bytes}));
      return found.size() > kMaxDiskReplyBytes ? DIRENT_ABORT : 0;
    };
    const auto code = ::ext2fs_dir_iterate2(handle_, number, 0, nullptr, take, &names);
    if (code != 0) return ext2_error(code, "reading a directory");
    if (names.size() > kMaxDiskReplyBytes) return fail(E2BIG, "a directory has too many names");
    return names;
  }

  Result<Bytes> xattrs(ext2_ino_t number) {
    ext2_xattr_handle* handle = nullptr;
    Bytes xattrs;
    auto code = ::ext2fs_xattrs_open(handle_, number, &handle);
    if (code == 0) code = ::ext2fs_xattrs_read(handle);
    if (code == 0) code = append_xattrs(handle, xattrs);
    if (handle != nullptr) ::ext2fs_xattrs_close(&handle);
    if (code != 0) return ext2_error(code, "reading extended attributes");
    return xattrs;
  }

  Result<Bytes> target(ext2_ino_t number) {
    LB_ASSIGN(ext2_inode_large inode, this->inode(number));
    const std::uint64_t length = inode.i_size;
    if (length >= PATH_MAX || inode.i_size_high != 0) return damaged_disk("a symlink that is too long");
    if (::ext2fs_is_fast_symlink(reinterpret_cast<ext2_inode*>(&inode)) != 0) {
      if (length > sizeof inode.i_block) return damaged_disk("a symlink that is too long for its place");
      const auto place = object_bytes(inode.i_block).first(length);
      return Bytes(place.begin(), place.end());
    }
    LB_ASSIGN(Bytes target, read(number, 0, length));
    if (target.size() != length) return damaged_disk("a symlink without its target");
    return target;
  }

  Result<Bytes> read(ext2_ino_t number, std::uint64_t offset, std::uint64_t size_bytes) {
    LB_TRY(open_file(number));
    Bytes bytes(std::min(size_bytes, kMaxDiskReadBytes));
    std::size_t done = 0;
    while (done < bytes.size()) {
      unsigned got = 0;
      auto code = ::ext2fs_file_llseek(file_, offset + done, EXT2_SEEK_SET, nullptr);
      if (code == 0)
        code =
            ::ext2fs_file_read(file_, bytes.data() + done, static_cast<unsigned>(bytes.size() - done), &got);
      if (code != 0) return ext2_error(code, "reading a file");
      if (got == 0) break;
      done += got;
    }
    bytes.resize(done);
    return bytes;
  }

 private:
  static errcode_t append_xattrs(ext2_xattr_handle* handle, Bytes& to) {
    std::vector<std::string> names;
    const auto take = [](char* name, char*, std::size_t, void* into) {
      static_cast<std::vector<std::string>*>(into)->emplace_back(name);
      return 0;
    };
    auto code = ::ext2fs_xattrs_iterate(handle, take, &names);
    for (const std::string& name : names) {
      if (code != 0) break;
      void* value = nullptr;  // of an ACL in the form of the system calls
      std::size_t size_bytes = 0;
      code = ::ext2fs_xattr_get(handle, name.c_str(), &value, &size_bytes);
      if (code == 0) {
        append(to, object_bytes(DiskXattr{.name_bytes = static_cast<std::uint32_t>(name.size()),
                                          .value_bytes = static_cast<std::uint32_t>(size_bytes)}));
        append(to, as_bytes(name));
        append(to, {static_cast<const std::byte*>(value), size_bytes});
      }
      if (value != nullptr) ::ext2fs_free_mem(&value);
    }
    return code;
  }

  /// A file is read piece by piece: the last one stays open.
  Result<void> open_file(ext2_ino_t number) {
    if (file_ != nullptr && file_number_ == number) return {};
    close_file();
    if (const auto code = ::ext2fs_file_open(handle_, number, 0, &file_); code != 0) {
      file_ = nullptr;
      return ext2_error(code, "opening a file");
    }
    file_number_ = number;
    return {};
  }
  void close_file() {
    if (file_ != nullptr) ::ext2fs_file_close(file_);
    file_ = nullptr;
  }

  /// The journal is replayed by whoever may write to the disk, which is not us.
  Result<void> check_is_settled(const std::string& name) {
    const auto refused = [&name](const char* why) {
      return fail(EUCLEAN, name, " ", why, ": 'e2fsck -p ", name, "' first, while no VM has it");
    };
    if ((handle_->super->s_state & EXT2_ERROR_FS) != 0) return refused("says that it is damaged");
    if (ext2fs_has_feature_journal_needs_recovery(handle_->super) == 0) return {};
    constexpr std::size_t kHeaderBytes = kJournalStartOffset + 4;
    LB_ASSIGN(const Bytes header, read(handle_->super->s_journal_inum, 0, kHeaderBytes));
    const auto word = [&header](std::size_t at) {
      std::uint32_t value = 0;
      std::memcpy(&value, header.data() + at, sizeof value);
      return std::endian::native == std::endian::little ? __builtin_bswap32(value) : value;
    };
    if (header.size() != kHeaderBytes || word(0) != kJournalMagic) return refused("has a damaged journal");
    if (word(kJournalStartOffset) != 0) return refused("has a journal that is to be replayed");
    return {};
  }

  ext2_filsys handle_ = nullptr;
  ext2_file_t file_ = nullptr;
  ext2_ino_t file_number_ = 0;
};

/// False at the end of what comes.
bool read_whole_from_socket(std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = ::read(kDiskChildSocketFd, into.data(), into.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

/// Where nobody listens any more, SIGPIPE ends it.
void write_to_socket(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(kDiskChildSocketFd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) ::_exit(1);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void answer(const Result<Bytes>& outcome) {
  DiskReply reply;
  const std::string text = outcome ? std::string() : outcome.error().describe();
  const auto bytes = outcome ? std::span<const std::byte>(*outcome) : as_bytes(text);
  reply.error = outcome ? 0 : static_cast<std::uint32_t>(outcome.error().code);
  reply.size = bytes.size();
  write_to_socket(object_bytes(reply));
  write_to_socket(bytes);
}

Result<Bytes> serve(Ext4& disk, const DiskRequest& request) {
  switch (request.what) {
    case DiskRequest::kOpen: {
      std::string name(std::min(request.size, kMaxDiskNameBytes), '\0');
      if (!read_whole_from_socket(std::as_writable_bytes(std::span(name)))) ::_exit(1);
      LB_TRY(disk.open(name));
      return Bytes();
    }
    case DiskRequest::kInode: {
      LB_ASSIGN(const ext2_inode_large inode, disk.inode(request.inode));
      const auto bytes = object_bytes(inode);
      return Bytes(bytes.begin(), bytes.end());
    }
    case DiskRequest::kNames:
      return disk.names(request.inode);
    case DiskRequest::kXattrs:
      return disk.xattrs(request.inode);
    case DiskRequest::kTarget:
      return disk.target(request.inode);
    case DiskRequest::kRead:
      return disk.read(request.inode, request.offset, request.size);
  }
  return fail(EINVAL, "no such request");
}

Result<void> shut_in() {
  ::mallopt(M_ARENA_MAX, 1);
  ::prctl(PR_SET_NAME, kDiskChildName);
  LB_TRY(leave_host(kChildDiskFd));
  LB_TRY(
      limit_use({.memory_bytes = kMaxDiskMemoryBytes, .cpu_seconds = kMaxDiskCpuSeconds, .file_bytes = 0}));
  // read for the socket; the others are how libext2fs looks at the descriptor that it is given, and whether
  // it may believe its environment.
  return allow_only_what_is_open(
      {SCMP_SYS(read), SCMP_SYS(lseek), SCMP_SYS(fsync), SCMP_SYS(fcntl), SCMP_SYS(newfstatat),
       SCMP_SYS(fstat), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid)},
      {SCMP_SYS(prctl), SCMP_SYS(ioctl)});
}

}  // namespace

int disk_child_main() {
  if (const auto shut = shut_in(); !shut) {
    answer(std::unexpected(shut.error()));
    ::_exit(1);
  }
  {
    Ext4 disk;
    DiskRequest request;
    while (read_whole_from_socket(std::as_writable_bytes(std::span(&request, 1))))
      answer(serve(disk, request));
  }
  // Not through what libraries do at exit.
  ::_exit(0);
}

}  // namespace layerboot::mount
