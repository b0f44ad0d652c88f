#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "guest-init/attribute_words.h"
#include "oci-mount/base/io_slices.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "vfsd/fuse/dirents.h"
#include "vfsd/fuse/ops.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

namespace {

constexpr std::uint64_t kMaxOffset = std::numeric_limits<std::int64_t>::max();
constexpr std::uint32_t kNanosecondsPerSecond = 1'000'000'000;

bool range_is_sane(std::uint64_t offset, std::uint64_t size) {
  return offset <= kMaxOffset && size <= kMaxOffset - offset;
}

// ---- attributes ---------------------------------------------------------------------------------

void reply_attr(Exchange& exchange, const vfs::Attr& attr) {
  fuse_attr_out out{};
  out.attr_valid = attr_valid_seconds(attr, exchange.valid_seconds);
  out.attr = to_wire(attr);
  reply_object(exchange, out);
}

void getattr(Call& call) {
  const auto attr = call.fs.getattr(call.node());
  if (!attr) return reply_error(call.exchange, attr.error());
  reply_attr(call.exchange, *attr);
}

vfs::TimeChange time_change(bool now, std::uint64_t sec, std::uint32_t nsec) {
  return {now, {static_cast<std::int64_t>(sec), nsec}};
}

/// A client that keeps what is written (WRITEBACK_CACHE) tells the times of a file when it has written it
/// back, and after each unlink, link or rename of it (fuse_flush_times() in Linux's fs/fuse/dir.c). The mtime
/// of a file whose name alone went is what it was: nothing is copied up for that.
bool tells_only_times(const fuse_setattr_in& in) {
  constexpr std::uint32_t kTimes = FATTR_MTIME | FATTR_CTIME;
  constexpr std::uint32_t kNoChange = FATTR_FH | FATTR_LOCKOWNER;
  return (in.valid & ~kNoChange) == kTimes;
}

bool has_mtime_of(const vfs::Attr& attr, const fuse_setattr_in& in) {
  return attr.mtime.sec == static_cast<std::int64_t>(in.mtime) && attr.mtime.nsec == in.mtimensec;
}

/// Where the caller may not keep all of the mode.
std::optional<std::uint32_t> mode_without_privileges(const Call& call) {
  const auto attr = call.fs.getattr(call.node());
  if (!attr) return std::nullopt;  // the change itself will say why
  const auto mode = without_privileges(*attr, call.exchange.header.uid, call.exchange.header.gid);
  if (mode == (attr->mode & kPermissionBits)) return std::nullopt;
  return mode;
}

/// Of who is not known to be the owner or root, only what he does next shows whether he may do that.
void drop_privileges(Call& call) {
  const auto attr = call.fs.getattr(call.node());
  if (!attr) return reply_error(call.exchange, attr.error());
  const bool has_set_id = !S_ISDIR(attr->mode) && (attr->mode & kSetIdBits) != 0;
  if (!has_set_id) return reply_attr(call.exchange, *attr);
  const auto& header = call.exchange.header;
  if (header.uid != 0 && header.uid != attr->uid) {
    call.drops.add(call.node(), header.pid);
    return reply_attr(call.exchange, *attr);
  }
  vfs::AttrChange change;
  change.mode = without_privileges(*attr, header.uid, header.gid);
  reply_when_done(call.exchange, call.fs.setattr(call.reactor, call.node(), change), reply_attr);
}

void setattr(Call& call) {
  const auto in = call.body.take<fuse_setattr_in>();
  if (!call.body.ok() || in.size > kMaxOffset || in.atimensec >= kNanosecondsPerSecond ||
      in.mtimensec >= kNanosecondsPerSecond || in.ctimensec >= kNanosecondsPerSecond) {
    return call.malformed();
  }
  if (call.has_agreed_to(FUSE_WRITEBACK_CACHE) && tells_only_times(in)) {
    const auto attr = call.fs.getattr(call.node());
    if (attr && has_mtime_of(*attr, in)) return reply_attr(call.exchange, *attr);
  }
  if (call.has_agreed_to(FUSE_HANDLE_KILLPRIV_V2) && names_nothing(in)) return drop_privileges(call);
  vfs::AttrChange change;
  if ((in.valid & FATTR_MODE) != 0) change.mode = in.mode & kPermissionBits;
  if ((in.valid & FATTR_UID) != 0) change.uid = in.uid;
  if ((in.valid & FATTR_GID) != 0) change.gid = in.gid;
  if ((in.valid & FATTR_SIZE) != 0) change.size_bytes = in.size;
  if ((in.valid & FATTR_ATIME) != 0) {
    change.atime = time_change((in.valid & FATTR_ATIME_NOW) != 0, in.atime, in.atimensec);
  }
  if ((in.valid & FATTR_MTIME) != 0) {
    change.mtime = time_change((in.valid & FATTR_MTIME_NOW) != 0, in.mtime, in.mtimensec);
  }
  change.kill_suid_sgid = (in.valid & FATTR_KILL_SUIDGID) != 0;
  if (change.kill_suid_sgid && change.size_bytes && !change.mode) change.mode = mode_without_privileges(call);
  reply_when_done(call.exchange, call.fs.setattr(call.reactor, call.node(), change), reply_attr);
}

void statfs(Call& call) {
  const auto stat = call.fs.statfs_at(call.node());
  if (!stat) return reply_error(call.exchange, stat.error());
  fuse_statfs_out out{};
  out.st.blocks = stat->blocks;
  out.st.bfree = stat->blocks_free;
  out.st.bavail = stat->blocks_free;
  out.st.files = stat->inodes;
  out.st.ffree = stat->inodes_free;
  out.st.bsize = static_cast<std::uint32_t>(stat->block_size_bytes);
  out.st.frsize = static_cast<std::uint32_t>(stat->block_size_bytes);
  out.st.namelen = stat->name_length_max;
  reply_object(call.exchange, out);
}

// ---- data ---------------------------------------------------------------------------------------

void read(Call& call) {
  const auto in = call.body.take<fuse_read_in>();
  if (!call.body.ok() || in.size > kMaxWriteBytes || !range_is_sane(in.offset, in.size)) {
    return call.malformed();
  }
  auto& into = call.exchange.data;
  sub_slices(call.exchange.writable(), sizeof(fuse_out_header), in.size, into);
  const auto done = call.fs.try_read(call.node(), in.offset, into);
  if (!done) return reply_error(call.exchange, done.error());
  if (*done != vfs::FileSystem::kWouldWait) {
    return reply_in_place(call.exchange, static_cast<std::size_t>(*done));
  }
  reply_when_done(call.exchange, call.fs.read(call.reactor, call.node(), in.offset, into), reply_in_place);
}

void reply_written(Exchange& exchange, std::size_t size_bytes) {
  fuse_write_out out{};
  out.size = static_cast<std::uint32_t>(size_bytes);
  reply_object(exchange, out);
}

vfs::Writer writer_of(std::uint32_t write_flags) {
  if ((write_flags & FUSE_WRITE_KILL_SUIDGID) != 0) return vfs::Writer::kUnprivileged;
  return (write_flags & FUSE_WRITE_CACHE) != 0 ? vfs::Writer::kPageCache : vfs::Writer::kPrivileged;
}

void write(Call& call) {
  const auto in = call.body.take<fuse_write_in>();
  if (!call.body.ok() || in.size > kMaxWriteBytes || !range_is_sane(in.offset, in.size)) {
    return call.malformed();
  }
  constexpr std::size_t kDataOffset = sizeof(fuse_in_header) + sizeof(fuse_write_in);
  if (call.exchange.header.len - kDataOffset < in.size) return call.malformed();
  auto& from = call.exchange.data;
  sub_slices(call.exchange.readable(), kDataOffset, in.size, from);
  const auto writer = writer_of(in.write_flags);
  if (writer == vfs::Writer::kUnprivileged && call.takes_set_id(call.node())) {
    auto written = call.fs.write(call.reactor, call.node(), in.offset, from, writer);
    return reply_when_done(call.exchange, drop_then(call.fs, call.reactor, call.node(), std::move(written)),
                           reply_written);
  }
  const auto done = call.fs.try_write(call.node(), in.offset, from, writer);
  if (!done) return reply_error(call.exchange, done.error());
  if (*done != vfs::FileSystem::kWouldWait)
    return reply_written(call.exchange, static_cast<std::size_t>(*done));
  reply_when_done(call.exchange, call.fs.write(call.reactor, call.node(), in.offset, from, writer),
                  reply_written);
}

void fsync(Call& call) {
  const auto in = call.body.take<fuse_fsync_in>();
  if (!call.body.ok()) return call.malformed();
  const bool data_only = (in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0;
  reply_when_done(call.exchange, call.fs.fsync(call.reactor, call.node(), data_only), reply_ok);
}

void fsyncdir(Call& call) {
  const auto in = call.body.take<fuse_fsync_in>();
  if (!call.body.ok()) return call.malformed();
  const bool data_only = (in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0;
  reply_when_done(call.exchange, call.fs.fsyncdir(call.reactor, call.node(), data_only), reply_ok);
}

void syncfs(Call& call) { reply_when_done(call.exchange, call.fs.syncfs(call.reactor), reply_ok); }

void fallocate(Call& call) {
  const auto in = call.body.take<fuse_fallocate_in>();
  if (!call.body.ok() || in.length == 0 || !range_is_sane(in.offset, 0)) return call.malformed();
  if (!range_is_sane(in.offset, in.length)) return reply_errno(call.exchange, EFBIG);
  auto allocated = call.fs.fallocate(call.reactor, call.node(), in.mode, in.offset, in.length);
  if (call.takes_set_id(call.node())) {
    allocated = drop_then(call.fs, call.reactor, call.node(), std::move(allocated));
  }
  reply_when_done(call.exchange, std::move(allocated), reply_ok);
}

void lseek(Call& call) {
  // The client asks without having sent what it keeps (fuse_lseek()): a hole here may be data there. For
  // good, it takes each file for data from one end to the other then.
  if (call.has_agreed_to(FUSE_WRITEBACK_CACHE)) return reply_errno(call.exchange, ENOSYS);
  const auto in = call.body.take<fuse_lseek_in>();
  if (!call.body.ok() || (in.whence != SEEK_DATA && in.whence != SEEK_HOLE)) return call.malformed();
  if (in.offset > kMaxOffset) return reply_errno(call.exchange, ENXIO);
  const auto offset = call.fs.lseek(call.node(), in.offset, in.whence);
  if (!offset) return reply_error(call.exchange, offset.error());
  reply_object(call.exchange, fuse_lseek_out{*offset});
}

void copy_file_range(Call& call) {
  const auto in = call.body.take<fuse_copy_file_range_in>();
  if (!call.body.ok() || in.flags != 0 || !range_is_sane(in.off_in, in.len) ||
      !range_is_sane(in.off_out, in.len)) {
    return call.malformed();
  }
  // The reply counts in 32 bits, so no more is copied at once; the client goes on from there.
  constexpr std::uint64_t kMaxCopyBytes = 1U << 30;
  const std::uint64_t length = std::min<std::uint64_t>(in.len, kMaxCopyBytes);
  auto copied =
      call.fs.copy_file_range(call.reactor, call.node(), in.off_in, in.nodeid_out, in.off_out, length);
  if (call.takes_set_id(in.nodeid_out)) {
    copied = drop_then(call.fs, call.reactor, in.nodeid_out, std::move(copied));
  }
  reply_when_done(call.exchange, std::move(copied), reply_written);
}

// ---- extended attributes ------------------------------------------------------------------------

/// On purpose: the client remembers it and stops asking.
void never_ask_again(Call& call) { reply_errno(call.exchange, ENOSYS); }

/// 0, or the errno for a name that no file system gets to see.
int refused_xattr(const Call& call, std::string_view name) {
  if (name.size() > kMaxXattrNameBytes) return ERANGE;
  // A client that does not obey ACLs shall not believe that it could store one.
  const bool unheeded = name.starts_with("system.posix_acl_") && !call.has_agreed_to(FUSE_POSIX_ACL);
  return unheeded ? EOPNOTSUPP : 0;
}

/// With `size` 0 the client asks how long the value is.
void reply_sized(Exchange& exchange, std::uint32_t size, const Result<std::string>& value) {
  if (!value) return reply_error(exchange, value.error());
  if (size == 0) {
    fuse_getxattr_out out{};
    out.size = static_cast<std::uint32_t>(value->size());
    return reply_object(exchange, out);
  }
  if (value->size() > size) return reply_errno(exchange, ERANGE);
  reply_text(exchange, *value);
}

/// A client that has been told which attributes there are does not need to ask for any.
/// guest-init's questions of an image (attribute_words.h). False where it is none: what has these names is
/// the guest's own.
bool answers_for_image(Call& call, std::string_view name, std::uint32_t size_bytes) {
  const bool is_to_forgo = name == guest_init::kForgoAttributes;
  if (call.node() != FUSE_ROOT_ID || (!is_to_forgo && name != guest_init::kAttributedPaths)) return false;
  auto paths = call.fs.attributed_paths(XATTR_SIZE_MAX);
  if (!paths && paths.error().code == ENODATA) return false;
  if (is_to_forgo && paths) {
    never_ask_again(call);
  } else {
    reply_sized(call.exchange, size_bytes, std::move(paths));
  }
  return true;
}

void getxattr(Call& call) {
  const auto in = call.body.take<fuse_getxattr_in>();
  const auto name = call.body.take_string(kMaxBodyBytes);
  if (!call.body.done()) return call.malformed();
  if (const int code = refused_xattr(call, name); code != 0) return reply_errno(call.exchange, code);
  if (answers_for_image(call, name, in.size)) return;
  reply_sized(call.exchange, in.size, call.fs.getxattr(call.node(), name));
}

void listxattr(Call& call) {
  const auto in = call.body.take<fuse_getxattr_in>();
  if (!call.body.ok()) return call.malformed();
  reply_sized(call.exchange, in.size, call.fs.listxattr(call.node()));
}

void setxattr(Call& call) {
  struct Short {
    std::uint32_t size, flags;
  };
  static_assert(sizeof(Short) == FUSE_COMPAT_SETXATTR_IN_SIZE);
  fuse_setxattr_in in{};
  if (call.has_agreed_to(FUSE_SETXATTR_EXT)) {
    in = call.body.take<fuse_setxattr_in>();
  } else {
    const auto old = call.body.take<Short>();
    in.size = old.size;
    in.flags = old.flags;
  }
  const auto name = call.body.take_string(kMaxBodyBytes);
  const auto value = call.body.take_bytes(in.size);
  constexpr std::uint32_t kKnownFlags = XATTR_CREATE | XATTR_REPLACE;
  if (!call.body.done() || (in.flags & ~kKnownFlags) != 0) return call.malformed();
  if (const int code = refused_xattr(call, name); code != 0) return reply_errno(call.exchange, code);
  if (value.size() > XATTR_SIZE_MAX) return reply_errno(call.exchange, E2BIG);
  const bool kill_sgid = (in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
  const std::uint32_t flags = in.flags | (kill_sgid ? vfs::kXattrKillSgid : 0U);
  reply_when_done(call.exchange, call.fs.setxattr(call.reactor, call.node(), name, value, flags), reply_ok);
}

void removexattr(Call& call) {
  const auto name = call.body.take_string(kMaxBodyBytes);
  if (!call.body.done()) return call.malformed();
  if (const int code = refused_xattr(call, name); code != 0) return reply_errno(call.exchange, code);
  reply_when_done(call.exchange, call.fs.removexattr(call.reactor, call.node(), name), reply_ok);
}

// ---- answered without the file system -----------------------------------------------------------

void succeed(Call& call) { reply_ok(call.exchange); }
void stay_silent(Call& call) { reply_none(call.exchange); }

/// The member behind these two is called differently in each release of the kernel's headers.
fuse_open_out opened(std::uint32_t flags, std::uint64_t handle = 0) {
  fuse_open_out out{};
  out.fh = handle;
  out.open_flags = flags;
  return out;
}

/// A client that can do without is told so once; others get an answer each time, with all they may keep.
void open_file(Call& call) {
  if (call.has_agreed_to(FUSE_NO_OPEN_SUPPORT)) return never_ask_again(call);
  const auto in = call.body.take<fuse_open_in>();
  if (!call.body.ok()) return call.malformed();
  const auto done = call.fs.open_file(call.node(), in.flags);
  if (!done) return reply_error(call.exchange, done.error());
  reply_object(call.exchange, opened(open_flags(*done), done->handle));
}
void release_file(Call& call) {
  const auto in = call.body.take<fuse_release_in>();
  if (!call.body.ok()) return call.malformed();
  call.fs.release_file(call.node(), in.fh);
  reply_ok(call.exchange);
}
void open_directory(Call& call) {
  if (call.has_agreed_to(FUSE_NO_OPENDIR_SUPPORT)) return never_ask_again(call);
  reply_object(call.exchange, opened(FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR));
}
void not_a_terminal(Call& call) { reply_errno(call.exchange, ENOTTY); }
void not_supported(Call& call) { reply_errno(call.exchange, EOPNOTSUPP); }

constexpr std::uint32_t kOpcodes = kOpStatx + 1;

constexpr std::array<Operation, kOpcodes> make_table() {
  std::array<Operation, kOpcodes> table{};
  table[FUSE_GETATTR] = {.handle = getattr, .reply_bytes = sizeof(fuse_attr_out)};
  table[FUSE_SETATTR] = {.handle = setattr, .reply_bytes = sizeof(fuse_attr_out), .mutates = true};
  table[FUSE_STATFS] = {.handle = statfs, .reply_bytes = sizeof(fuse_statfs_out)};
  table[FUSE_READ] = {.handle = read};
  table[FUSE_WRITE] = {.handle = write,
                       .reply_bytes = sizeof(fuse_write_out),
                       .copied_bytes = sizeof(fuse_write_in),
                       .mutates = true};
  table[FUSE_FSYNC] = {.handle = fsync};
  table[FUSE_FSYNCDIR] = {.handle = fsyncdir};
  table[FUSE_SYNCFS] = {.handle = syncfs};
  table[FUSE_FALLOCATE] = {.handle = fallocate, .mutates = true};
  table[FUSE_LSEEK] = {.handle = lseek, .reply_bytes = sizeof(fuse_lseek_out)};
  table[FUSE_COPY_FILE_RANGE] = {
      .handle = copy_file_range, .reply_bytes = sizeof(fuse_write_out), .mutates = true};
  table[FUSE_GETXATTR] = {.handle = getxattr};
  table[FUSE_LISTXATTR] = {.handle = listxattr};
  table[FUSE_SETXATTR] = {.handle = setxattr, .mutates = true};
  table[FUSE_REMOVEXATTR] = {.handle = removexattr, .mutates = true};
  table[FUSE_RELEASE] = {.handle = release_file};
  table[FUSE_RELEASEDIR] = {.handle = succeed};
  table[FUSE_INTERRUPT] = {.handle = stay_silent, .no_reply = true};
  for (const std::uint32_t opcode : {FUSE_FLUSH, FUSE_POLL, FUSE_ACCESS, FUSE_BMAP}) {
    table[opcode] = {.handle = never_ask_again};
  }
  table[FUSE_OPEN] = {.handle = open_file, .reply_bytes = sizeof(fuse_open_out)};
  table[FUSE_OPENDIR] = {.handle = open_directory};
  table[kOpStatx] = {.handle = never_ask_again};
  table[FUSE_IOCTL] = {.handle = not_a_terminal};
  for (const std::uint32_t opcode : {FUSE_GETLK, FUSE_SETLK, FUSE_SETLKW}) {
    table[opcode] = {.handle = not_supported};
  }
  return table;
}

constexpr auto kTable = make_table();

}  // namespace

const Operation* find_io_operation(std::uint32_t opcode) {
  return opcode < kOpcodes && kTable[opcode].handle != nullptr ? &kTable[opcode] : nullptr;
}

}  // namespace layerboot::vfsd::fuse
