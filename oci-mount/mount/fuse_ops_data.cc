#include <sys/stat.h>
#include <sys/statvfs.h>

#include <dirent.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>
#include <memory>

#include "oci-mount/mount/fuse_ops.h"
#include "oci-mount/mount/fuse_reply.h"

namespace layerboot::mount {

namespace {

// To ENOSYS the kernel answers by never asking again, as FileSystem needs no handles. Older kernels than that
// are told that caches stay valid.
void open(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  if (door_of(request).opens_without_asking) {
    ::fuse_reply_err(request, ENOSYS);
    return;
  }
  file->keep_cache = 1;
  ::fuse_reply_open(request, file);
}

void opendir(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  if (door_of(request).lists_without_asking) {
    ::fuse_reply_err(request, ENOSYS);
    return;
  }
  file->keep_cache = 1;
  file->cache_readdir = 1;
  ::fuse_reply_open(request, file);
}

char* scratch_of(Door& door, std::size_t size_bytes) {
  if (door.scratch.size() < size_bytes) door.scratch.resize(size_bytes);
  return reinterpret_cast<char*>(door.scratch.data());
}

// libfuse packs one entry into [at, at + room) and says what it would have taken.
template <bool kWithNodes>
std::size_t pack(fuse_req_t request, char* at, std::size_t room, const vfs::Dirent& dirent,
                 const vfs::Entry& entry) {
  std::array<char, NAME_MAX + 1> name{};
  const std::size_t length = std::min<std::size_t>(dirent.name.size(), NAME_MAX);
  std::memcpy(name.data(), dirent.name.data(), length);
  const auto next = static_cast<off_t>(dirent.next_cookie);
  fuse_entry_param param{};
  if (kWithNodes && entry.id != 0) param = entry_param_of(entry);
  // For "." and "..", and what a listing shows of the rest.
  param.attr.st_ino = dirent.ino;
  if (entry.id == 0) param.attr.st_mode = DTTOIF(dirent.type);
  if constexpr (kWithNodes) return ::fuse_add_direntry_plus(request, at, room, name.data(), &param, next);
  return ::fuse_add_direntry(request, at, room, name.data(), &param.attr, next);
}

template <bool kWithNodes>
void read_directory(fuse_req_t request, fuse_ino_t node, std::size_t size_bytes, off_t cookie,
                    fuse_file_info*) {
  Door& door = door_of(request);
  char* const page = scratch_of(door, size_bytes);
  std::size_t used = 0;
  const auto done = door.fs.readdir(node, static_cast<std::uint64_t>(cookie), kWithNodes,
                                    [&](const vfs::Dirent& dirent, const vfs::Entry& entry) {
                                      const std::size_t needed = pack<kWithNodes>(
                                          request, page + used, size_bytes - used, dirent, entry);
                                      if (needed > size_bytes - used) return false;
                                      used += needed;
                                      return true;
                                    });
  if (!done) return reply_error(request, done.error());
  ::fuse_reply_buf(request, page, used);
}

void read(fuse_req_t request, fuse_ino_t node, std::size_t size_bytes, off_t offset, fuse_file_info*) {
  Door& door = door_of(request);
  const auto start_offset = static_cast<std::uint64_t>(offset);
  const iovec fast{scratch_of(door, size_bytes), size_bytes};
  const auto got = door.fs.try_read(node, start_offset, std::span(&fast, 1));
  if (!got) return reply_error(request, got.error());
  if (*got != vfs::FileSystem::kWouldWait) {
    ::fuse_reply_buf(request, static_cast<const char*>(fast.iov_base), static_cast<std::size_t>(*got));
    return;
  }
  struct Buffer {
    std::unique_ptr<std::byte[]> bytes;
    iovec slice{};
  };
  auto kept = std::make_shared<Buffer>();
  kept->bytes = std::make_unique_for_overwrite<std::byte[]>(size_bytes);
  kept->slice = {kept->bytes.get(), size_bytes};
  auto task = door.fs.read(*door.reactor, node, start_offset, std::span<const iovec>(&kept->slice, 1));
  run(door, std::move(task), [request, kept](const Result<std::size_t>& read_bytes) {
    if (!read_bytes) return reply_error(request, read_bytes.error());
    ::fuse_reply_buf(request, reinterpret_cast<const char*>(kept->bytes.get()), *read_bytes);
  });
}

void reply_count(fuse_req_t request, const Result<std::size_t>& count) {
  if (!count) return reply_error(request, count.error());
  ::fuse_reply_write(request, *count);
}

void write(fuse_req_t request, fuse_ino_t node, const char* bytes, std::size_t size_bytes, off_t offset,
           fuse_file_info*) {
  struct Data {
    std::string bytes;
    iovec slice{};
  };
  Door& door = door_of(request);
  auto kept = std::make_shared<Data>();
  kept->bytes.assign(bytes, size_bytes);  // libfuse takes its buffer back when this returns
  kept->slice = {kept->bytes.data(), kept->bytes.size()};
  auto task = door.fs.write(*door.reactor, node, static_cast<std::uint64_t>(offset),
                            std::span<const iovec>(&kept->slice, 1), vfs::Writer::kPrivileged);
  run(door, std::move(task),
      [request, kept](const Result<std::size_t>& count) { reply_count(request, count); });
}

void fsync(fuse_req_t request, fuse_ino_t node, int data_only, fuse_file_info*) {
  Door& door = door_of(request);
  run(door, door.fs.fsync(*door.reactor, node, data_only != 0),
      [request](const Result<void>& done) { reply_done(request, done); });
}

void fsyncdir(fuse_req_t request, fuse_ino_t node, int data_only, fuse_file_info*) {
  Door& door = door_of(request);
  run(door, door.fs.fsyncdir(*door.reactor, node, data_only != 0),
      [request](const Result<void>& done) { reply_done(request, done); });
}

void fallocate(fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length, fuse_file_info*) {
  Door& door = door_of(request);
  run(door,
      door.fs.fallocate(*door.reactor, node, static_cast<std::uint32_t>(mode),
                        static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(length)),
      [request](const Result<void>& done) { reply_done(request, done); });
}

void copy_file_range(fuse_req_t request, fuse_ino_t from, off_t from_offset, fuse_file_info*, fuse_ino_t to,
                     off_t to_offset, fuse_file_info*, std::size_t length_bytes, int flags) {
  if (flags != 0) return reply_error(request, Error{EINVAL, {}});
  Door& door = door_of(request);
  run(door,
      door.fs.copy_file_range(*door.reactor, from, static_cast<std::uint64_t>(from_offset), to,
                              static_cast<std::uint64_t>(to_offset), length_bytes),
      [request](const Result<std::size_t>& count) { reply_count(request, count); });
}

void lseek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, fuse_file_info*) {
  const auto found =
      door_of(request).fs.lseek(node, static_cast<std::uint64_t>(offset), static_cast<std::uint32_t>(whence));
  if (!found) return reply_error(request, found.error());
  ::fuse_reply_lseek(request, static_cast<off_t>(*found));
}

void statfs(fuse_req_t request, fuse_ino_t) {
  const auto whole = door_of(request).fs.statfs();
  if (!whole) return reply_error(request, whole.error());
  struct statvfs st{};
  st.f_bsize = whole->block_size_bytes;
  st.f_frsize = whole->block_size_bytes;
  st.f_blocks = whole->blocks;
  st.f_bfree = whole->blocks_free;
  st.f_bavail = whole->blocks_free;
  st.f_files = whole->inodes;
  st.f_ffree = whole->inodes_free;
  st.f_favail = whole->inodes_free;
  st.f_namemax = whole->name_length_max;
  ::fuse_reply_statfs(request, &st);
}

}  // namespace

void set_data_operations(fuse_lowlevel_ops& operations) {
  operations.open = open;
  operations.opendir = opendir;
  operations.readdir = read_directory<false>;
  operations.readdirplus = read_directory<true>;
  operations.read = read;
  operations.write = write;
  operations.fsync = fsync;
  operations.fsyncdir = fsyncdir;
  operations.fallocate = fallocate;
  operations.copy_file_range = copy_file_range;
  operations.lseek = lseek;
  operations.statfs = statfs;
}

}  // namespace layerboot::mount
