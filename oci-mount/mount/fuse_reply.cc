#include "oci-mount/mount/fuse_reply.h"

#include "oci-mount/base/log.h"
#include "oci-mount/overlay/file_rules.h"

namespace layerboot::mount {

namespace {

constexpr blksize_t kBlockSizeBytes = 4096;

}  // namespace

struct stat stat_of(const vfs::Attr& attr) {
  struct stat st{};
  st.st_ino = attr.ino;
  st.st_mode = attr.mode;
  st.st_nlink = attr.nlink;
  st.st_uid = attr.uid;
  st.st_gid = attr.gid;
  st.st_rdev = attr.rdev;  // libfuse hands it on as it is, and the kernel takes new_encode_dev() form
  st.st_size = static_cast<off_t>(attr.size_bytes);
  st.st_blocks = static_cast<blkcnt_t>(attr.blocks);
  st.st_blksize = kBlockSizeBytes;
  st.st_atim = overlay::timespec_of(attr.atime);
  st.st_mtim = overlay::timespec_of(attr.mtime);
  st.st_ctim = overlay::timespec_of(attr.ctime);
  return st;
}

fuse_entry_param entry_param_of(const vfs::Entry& entry) {
  fuse_entry_param param{};
  param.ino = entry.id;
  param.entry_timeout = kForEverSeconds;
  param.attr_timeout = kForEverSeconds;
  if (entry.id != 0) param.attr = stat_of(entry.attr);
  return param;
}

void reply_error(fuse_req_t request, const Error& error) {
  if (error.code == EIO) log_warn(error.describe());
  // ENOSYS would switch the operation off for as long as the mount lives.
  ::fuse_reply_err(request, error.code == ENOSYS ? EOPNOTSUPP : error.code);
}

void reply_entry(fuse_req_t request, const Result<vfs::Entry>& entry) {
  if (!entry) return reply_error(request, entry.error());
  const fuse_entry_param param = entry_param_of(*entry);
  ::fuse_reply_entry(request, &param);
}

void reply_attr(fuse_req_t request, const Result<vfs::Attr>& attr) {
  if (!attr) return reply_error(request, attr.error());
  const struct stat st = stat_of(*attr);
  ::fuse_reply_attr(request, &st, kForEverSeconds);
}

void reply_done(fuse_req_t request, const Result<void>& done) {
  if (!done) return reply_error(request, done.error());
  ::fuse_reply_err(request, 0);
}

void reply_xattr(fuse_req_t request, const Result<std::string>& value, std::size_t room_bytes) {
  if (!value) return reply_error(request, value.error());
  if (room_bytes == 0) {
    ::fuse_reply_xattr(request, value->size());
  } else if (value->size() > room_bytes) {
    ::fuse_reply_err(request, ERANGE);
  } else {
    ::fuse_reply_buf(request, value->data(), value->size());
  }
}

}  // namespace layerboot::mount
