#include <fcntl.h>

#include <algorithm>
#include <array>

#include "oci-mount/base/io_slices.h"
#include "oci-mount/base/path_rules.h"
#include "vfsd/fuse/dirents.h"
#include "vfsd/fuse/ops.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

namespace {

// A name may be longer than a file system's: the client sends up to 1024 bytes and expects ENAMETOOLONG,
// which is the file system's to say.
std::string_view take_name(Call& call) { return call.body.take_string(kMaxBodyBytes); }

void reply_entry(Exchange& exchange, const vfs::Entry& entry) {
  reply_object(exchange, to_wire(entry, exchange.valid_seconds));
}

void reply_entry_result(Exchange& exchange, const Result<vfs::Entry>& entry) {
  if (entry) {
    reply_entry(exchange, *entry);
  } else {
    reply_error(exchange, entry.error());
  }
}

void lookup(Call& call) {
  const auto name = take_name(call);
  if (!call.body.done()) return call.malformed();
  reply_entry_result(call.exchange, call.fs.lookup(call.node(), name));
}

void forget(Call& call) {
  const auto in = call.body.take<fuse_forget_in>();
  if (call.body.ok()) call.fs.forget(call.node(), in.nlookup);
  reply_none(call.exchange);
}

void batch_forget(Call& call) {
  const auto in = call.body.take<fuse_batch_forget_in>();
  // The count is checked against what is there before any of it counts.
  if (!call.body.ok() || call.body.rest_bytes() / sizeof(fuse_forget_one) < in.count) {
    return reply_none(call.exchange);
  }
  for (std::uint32_t i = 0; i < in.count; ++i) {
    const auto one = call.body.take<fuse_forget_one>();
    call.fs.forget(one.nodeid, one.nlookup);
  }
  reply_none(call.exchange);
}

void readlink(Call& call) {
  const auto target = call.fs.readlink(call.node());
  if (!target) return reply_error(call.exchange, target.error());
  reply_text(call.exchange, *target);
}

void symlink(Call& call) {
  const auto name = take_name(call);
  const auto target = call.body.take_string(kMaxBodyBytes);
  if (!call.body.done()) return call.malformed();
  if (target.size() > kMaxSymlinkBytes) return reply_errno(call.exchange, ENAMETOOLONG);
  reply_entry_result(call.exchange, call.fs.symlink(call.node(), name, target, call.caller()));
}

void mknod(Call& call) {
  const auto in = call.body.take<fuse_mknod_in>();
  const auto name = take_name(call);
  if (!call.body.done()) return call.malformed();
  reply_entry_result(call.exchange,
                     call.fs.mknod(call.node(), name, in.mode, in.rdev, call.caller(in.umask)));
}

void mkdir(Call& call) {
  const auto in = call.body.take<fuse_mkdir_in>();
  const auto name = take_name(call);
  if (!call.body.done()) return call.malformed();
  reply_entry_result(call.exchange, call.fs.mkdir(call.node(), name, in.mode, call.caller(in.umask)));
}

void unlink(Call& call) {
  const auto name = take_name(call);
  if (!call.body.done()) return call.malformed();
  reply_result(call.exchange, call.fs.unlink(call.node(), name));
}

void rmdir(Call& call) {
  const auto name = take_name(call);
  if (!call.body.done()) return call.malformed();
  reply_result(call.exchange, call.fs.rmdir(call.node(), name));
}

void rename_to(Call& call, vfs::NodeId new_parent, std::uint32_t flags) {
  const auto name = take_name(call);
  const auto new_name = take_name(call);
  if (!call.body.done()) return call.malformed();
  reply_when_done(call.exchange, call.fs.rename(call.reactor, call.node(), name, new_parent, new_name, flags),
                  reply_ok);
}

void rename(Call& call) {
  const auto in = call.body.take<fuse_rename_in>();
  rename_to(call, in.newdir, 0);
}

void rename2(Call& call) {
  const auto in = call.body.take<fuse_rename2_in>();
  rename_to(call, in.newdir, in.flags);
}

void link(Call& call) {
  const auto in = call.body.take<fuse_link_in>();
  const auto name = take_name(call);
  if (!call.body.done()) return call.malformed();
  reply_when_done(call.exchange, call.fs.link(call.reactor, in.oldnodeid, call.node(), name), reply_entry);
}

struct Created {
  fuse_entry_out entry;
  fuse_open_out open;
};
static_assert(sizeof(Created) == sizeof(fuse_entry_out) + sizeof(fuse_open_out));

/// Opens what was made, as `flags` of open(2) say. No RELEASE follows a CREATE of who does without OPEN.
void reply_created(Exchange& exchange, vfs::FileSystem& fs, const vfs::Entry& entry, std::uint32_t flags) {
  const auto opened = fs.open_file(entry.id, flags);
  if (!opened) {
    fs.forget(entry.id, 1);
    return reply_error(exchange, opened.error());
  }
  Created created{to_wire(entry, exchange.valid_seconds), {}};
  created.open.fh = opened->handle;
  created.open.open_flags = open_flags(*opened);
  reply_object(exchange, created);
}

/// The client's kernel takes a file from CREATE for new and does not truncate it afterwards.
Task<Result<vfs::Entry>> truncate_created(vfs::FileSystem& fs, Reactor& reactor, vfs::Entry entry,
                                          bool kill) {
  vfs::AttrChange change;
  change.size_bytes = 0;
  change.kill_suid_sgid = kill;
  auto attr = co_await fs.setattr(reactor, entry.id, change);
  if (!attr) {
    fs.forget(entry.id, 1);
    co_return std::unexpected(std::move(attr).error());
  }
  entry.attr = *attr;
  co_return entry;
}

void create(Call& call) {
  const auto in = call.body.take<fuse_create_in>();
  const auto name = take_name(call);
  if (!call.body.done()) return call.malformed();
  const auto entry =
      call.fs.create(call.node(), name, in.mode, (in.flags & O_EXCL) != 0, call.caller(in.umask));
  if (!entry) return reply_error(call.exchange, entry.error());
  if ((in.flags & O_TRUNC) == 0 || entry->attr.size_bytes == 0)
    return reply_created(call.exchange, call.fs, *entry, in.flags);
  const bool kill = (in.open_flags & FUSE_OPEN_KILL_SUIDGID) != 0;
  reply_when_done(call.exchange, truncate_created(call.fs, call.reactor, *entry, kill),
                  [&fs = call.fs, flags = in.flags](Exchange& exchange, const vfs::Entry& truncated) {
                    reply_created(exchange, fs, truncated, flags);
                  });
}

void tmpfile(Call& call) {
  const auto in = call.body.take<fuse_create_in>();
  if (!call.body.ok()) return call.malformed();  // the name that follows means nothing
  const auto entry = call.fs.tmpfile(call.node(), in.mode, call.caller(in.umask));
  if (!entry) return reply_error(call.exchange, entry.error());
  reply_created(call.exchange, call.fs, *entry, in.flags);
}

void list_directory(Call& call, bool plus) {
  const auto in = call.body.take<fuse_read_in>();
  if (!call.body.ok()) return call.malformed();
  const std::size_t room = total_bytes(call.exchange.writable()) - sizeof(fuse_out_header);
  const std::size_t limit = std::min<std::size_t>({in.size, room, kMaxWriteBytes});
  // Put together and sent before this returns: one for each thread, not for each request.
  thread_local std::vector<std::byte> page;
  DirentPacker packer(page, limit, plus, call.exchange.valid_seconds);
  const vfs::FileSystem::AddEntry add = [&packer](const vfs::Dirent& dirent, const vfs::Entry& entry) {
    return packer.add(dirent, entry);
  };
  const auto listed = call.fs.readdir(call.node(), in.offset, plus, add);
  if (!listed) return reply_error(call.exchange, listed.error());
  // An empty reply would mean the end of the directory.
  if (page.empty() && packer.refused()) return call.malformed();
  reply_bytes(call.exchange, page);
}

void readdir(Call& call) { list_directory(call, false); }
void readdirplus(Call& call) { list_directory(call, true); }

constexpr std::uint32_t kOpcodes = FUSE_TMPFILE + 1;

constexpr std::array<Operation, kOpcodes> make_table() {
  std::array<Operation, kOpcodes> table{};
  table[FUSE_LOOKUP] = {.handle = lookup, .reply_bytes = sizeof(fuse_entry_out)};
  table[FUSE_FORGET] = {.handle = forget, .no_reply = true};
  table[FUSE_BATCH_FORGET] = {.handle = batch_forget, .no_reply = true};
  table[FUSE_READLINK] = {.handle = readlink};
  table[FUSE_SYMLINK] = {.handle = symlink, .reply_bytes = sizeof(fuse_entry_out), .mutates = true};
  table[FUSE_MKNOD] = {.handle = mknod, .reply_bytes = sizeof(fuse_entry_out), .mutates = true};
  table[FUSE_MKDIR] = {.handle = mkdir, .reply_bytes = sizeof(fuse_entry_out), .mutates = true};
  table[FUSE_UNLINK] = {.handle = unlink, .mutates = true};
  table[FUSE_RMDIR] = {.handle = rmdir, .mutates = true};
  table[FUSE_RENAME] = {.handle = rename, .mutates = true};
  table[FUSE_RENAME2] = {.handle = rename2, .mutates = true};
  table[FUSE_LINK] = {.handle = link, .reply_bytes = sizeof(fuse_entry_out), .mutates = true};
  table[FUSE_CREATE] = {.handle = create, .reply_bytes = sizeof(Created), .mutates = true};
  table[FUSE_TMPFILE] = {.handle = tmpfile, .reply_bytes = sizeof(Created), .mutates = true};
  table[FUSE_READDIR] = {.handle = readdir};
  table[FUSE_READDIRPLUS] = {.handle = readdirplus};
  return table;
}

constexpr auto kTable = make_table();

}  // namespace

const Operation* find_namespace_operation(std::uint32_t opcode) {
  return opcode < kOpcodes && kTable[opcode].handle != nullptr ? &kTable[opcode] : nullptr;
}

}  // namespace layerboot::vfsd::fuse
