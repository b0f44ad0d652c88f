#include "tests/support/fake_guest_fuse.h"

#include <fcntl.h>

#include <cstring>

#include "oci-mount/base/bytes.h"

namespace layerboot::test {

namespace {

constexpr std::uint32_t kPageBytes = 4096;

std::string as_string(std::span<const std::byte> bytes) { return std::string(as_text(bytes)); }

}  // namespace

std::vector<std::byte> with_nul(std::string_view text) {
  const auto bytes = as_bytes(text);
  std::vector<std::byte> out(bytes.begin(), bytes.end());
  out.push_back(std::byte{0});
  return out;
}

std::vector<std::byte> FuseClient::encode(std::uint32_t opcode, std::uint64_t node,
                                          std::initializer_list<std::span<const std::byte>> parts) {
  fuse_in_header header{};
  header.len = sizeof(header);
  for (const auto& part : parts) header.len += static_cast<std::uint32_t>(part.size());
  header.opcode = opcode;
  header.unique = unique_;
  unique_ += 2;
  header.nodeid = node;
  std::vector<std::byte> request(header.len);
  std::memcpy(request.data(), &header, sizeof(header));
  std::size_t at = sizeof(header);
  for (const auto& part : parts) {
    if (!part.empty()) std::memcpy(request.data() + at, part.data(), part.size());
    at += part.size();
  }
  return request;
}

Result<std::vector<std::byte>> FuseClient::judge(std::span<const std::byte> request,
                                                 std::span<const std::byte> reply) {
  const auto in = ByteReader(request).read<fuse_in_header>();
  ByteReader reader(reply);
  const auto out = reader.read<fuse_out_header>();
  if (!reader.ok()) return fail(EBADMSG, "a reply of ", reply.size(), " bytes");
  if (out.len != reply.size()) return fail(EBADMSG, "out.len ", out.len, " but used length ", reply.size());
  if (out.unique != in.unique) return fail(EBADMSG, "unique ", out.unique, " instead of ", in.unique);
  if (out.error > 0 || out.error <= -1000) return fail(EBADMSG, "error ", out.error, " in a reply");
  if (out.error != 0 && !reader.rest().empty()) return fail(EBADMSG, "an error with a payload");
  if (out.error != 0) return fail(-out.error);
  return std::vector(reader.rest().begin(), reader.rest().end());
}

Result<std::vector<std::byte>> FuseClient::exchange(std::span<const std::byte> request,
                                                    std::size_t reply_bytes) {
  FakeQueue& queue = guest_.queue(queue_);
  LB_ASSIGN(const auto prepared, queue.prepare(request, reply_bytes));
  queue.offer(prepared.head);
  queue.kick();
  LB_ASSIGN(const auto reply, queue.wait(prepared));
  return judge(request, reply);
}

Result<std::vector<std::byte>> FuseClient::call(std::uint32_t opcode, std::uint64_t node,
                                                std::initializer_list<std::span<const std::byte>> parts,
                                                std::size_t reply_bytes) {
  return exchange(encode(opcode, node, parts), sizeof(fuse_out_header) + reply_bytes);
}

template <typename T>
Result<T> FuseClient::call_for(std::uint32_t opcode, std::uint64_t node,
                               std::initializer_list<std::span<const std::byte>> parts) {
  LB_ASSIGN(const auto payload, call(opcode, node, parts, sizeof(T)));
  if (payload.size() != sizeof(T)) return fail(EBADMSG, "a payload of ", payload.size(), " bytes");
  return ByteReader(payload).read<T>();
}

Result<void> FuseClient::call_for_nothing(std::uint32_t opcode, std::uint64_t node,
                                          std::initializer_list<std::span<const std::byte>> parts) {
  LB_ASSIGN(const auto payload, call(opcode, node, parts, 0));
  return payload.empty() ? Result<void>() : fail(EBADMSG, "an unexpected payload");
}

Result<fuse_init_out> FuseClient::init(std::uint32_t minor, std::uint32_t flags, std::uint32_t flags2) {
  fuse_init_in in{};
  in.major = 7;
  in.minor = minor;
  in.max_readahead = 128U << 10;
  in.flags = flags;
  in.flags2 = flags2;
  LB_ASSIGN(const auto out, call_for<fuse_init_out>(FUSE_INIT, 0, {object_bytes(in)}));
  opens_files_ = (out.flags & FUSE_NO_OPEN_SUPPORT) == 0;
  return out;
}

Result<fuse_entry_out> FuseClient::lookup(std::uint64_t parent, std::string_view name) {
  return call_for<fuse_entry_out>(FUSE_LOOKUP, parent, {with_nul(name)});
}

Result<fuse_attr> FuseClient::getattr(std::uint64_t node) {
  const fuse_getattr_in in{};
  LB_ASSIGN(const auto out, call_for<fuse_attr_out>(FUSE_GETATTR, node, {object_bytes(in)}));
  return out.attr;
}

Result<fuse_attr> FuseClient::setattr(std::uint64_t node, const fuse_setattr_in& in) {
  LB_ASSIGN(const auto out, call_for<fuse_attr_out>(FUSE_SETATTR, node, {object_bytes(in)}));
  return out.attr;
}

Result<std::string> FuseClient::readlink(std::uint64_t node) {
  LB_ASSIGN(const auto target, call(FUSE_READLINK, node, {}, kPageBytes));
  return as_string(target);
}

Result<fuse_entry_out> FuseClient::mkdir(std::uint64_t parent, std::string_view name, std::uint32_t mode) {
  const fuse_mkdir_in in{mode, 0};
  return call_for<fuse_entry_out>(FUSE_MKDIR, parent, {object_bytes(in), with_nul(name)});
}

Result<fuse_entry_out> FuseClient::mknod(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                                         std::uint32_t rdev) {
  const fuse_mknod_in in{mode, rdev, 0, 0};
  return call_for<fuse_entry_out>(FUSE_MKNOD, parent, {object_bytes(in), with_nul(name)});
}

Result<fuse_entry_out> FuseClient::symlink(std::uint64_t parent, std::string_view name,
                                           std::string_view target) {
  return call_for<fuse_entry_out>(FUSE_SYMLINK, parent, {with_nul(name), with_nul(target)});
}

Result<fuse_entry_out> FuseClient::link(std::uint64_t node, std::uint64_t new_parent,
                                        std::string_view new_name) {
  const fuse_link_in in{node};
  return call_for<fuse_entry_out>(FUSE_LINK, new_parent, {object_bytes(in), with_nul(new_name)});
}

Result<fuse_entry_out> FuseClient::create(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                                          std::uint32_t flags) {
  struct Created {
    fuse_entry_out entry;
    fuse_open_out open;
  };
  fuse_create_in in{};
  in.flags = flags | O_CREAT;
  in.mode = mode;
  LB_ASSIGN(const auto created, call_for<Created>(FUSE_CREATE, parent, {object_bytes(in), with_nul(name)}));
  if (created.open.fh != 0 && !opens_files_)
    return fail(EBADMSG, "CREATE gave a handle, which nobody would release");
  return created.entry;
}

Result<void> FuseClient::unlink(std::uint64_t parent, std::string_view name) {
  return call_for_nothing(FUSE_UNLINK, parent, {with_nul(name)});
}

Result<void> FuseClient::rmdir(std::uint64_t parent, std::string_view name) {
  return call_for_nothing(FUSE_RMDIR, parent, {with_nul(name)});
}

Result<void> FuseClient::rename(std::uint64_t parent, std::string_view name, std::uint64_t new_parent,
                                std::string_view new_name, std::uint32_t flags) {
  if (flags == 0) {
    const fuse_rename_in in{new_parent};
    return call_for_nothing(FUSE_RENAME, parent, {object_bytes(in), with_nul(name), with_nul(new_name)});
  }
  const fuse_rename2_in in{new_parent, flags, 0};
  return call_for_nothing(FUSE_RENAME2, parent, {object_bytes(in), with_nul(name), with_nul(new_name)});
}

Result<std::string> FuseClient::read(std::uint64_t node, std::uint64_t offset, std::uint32_t size) {
  fuse_read_in in{};
  in.offset = offset;
  in.size = size;
  LB_ASSIGN(const auto data, call(FUSE_READ, node, {object_bytes(in)}, size));
  return as_string(data);
}

Result<std::uint32_t> FuseClient::write(std::uint64_t node, std::uint64_t offset, std::string_view data,
                                        std::uint32_t write_flags) {
  fuse_write_in in{};
  in.offset = offset;
  in.size = static_cast<std::uint32_t>(data.size());
  in.write_flags = write_flags;
  LB_ASSIGN(const auto out, call_for<fuse_write_out>(FUSE_WRITE, node, {object_bytes(in), as_bytes(data)}));
  return out.size;
}

Result<void> FuseClient::fallocate(std::uint64_t node, std::uint32_t mode, std::uint64_t offset,
                                   std::uint64_t length) {
  const fuse_fallocate_in in{0, offset, length, mode, 0};
  return call_for_nothing(FUSE_FALLOCATE, node, {object_bytes(in)});
}

Result<std::uint64_t> FuseClient::lseek(std::uint64_t node, std::uint64_t offset, std::uint32_t whence) {
  const fuse_lseek_in in{0, offset, whence, 0};
  LB_ASSIGN(const auto out, call_for<fuse_lseek_out>(FUSE_LSEEK, node, {object_bytes(in)}));
  return out.offset;
}

Result<std::uint64_t> FuseClient::open(std::uint64_t node, std::uint32_t flags) {
  const fuse_open_in in{flags, 0};
  LB_ASSIGN(const auto out, call_for<fuse_open_out>(FUSE_OPEN, node, {object_bytes(in)}));
  return out.fh;
}

Result<void> FuseClient::release(std::uint64_t node, std::uint64_t handle) {
  fuse_release_in in{};
  in.fh = handle;
  return call_for_nothing(FUSE_RELEASE, node, {object_bytes(in)});
}

Result<void> FuseClient::fsync(std::uint64_t node) {
  const fuse_fsync_in in{};
  return call_for_nothing(FUSE_FSYNC, node, {object_bytes(in)});
}

Result<void> FuseClient::setxattr(std::uint64_t node, std::string_view name, std::string_view value,
                                  std::uint32_t flags) {
  // In the long form: every client that offers all has agreed to FUSE_SETXATTR_EXT.
  const fuse_setxattr_in in{static_cast<std::uint32_t>(value.size()), flags, 0, 0};
  return call_for_nothing(FUSE_SETXATTR, node, {object_bytes(in), with_nul(name), as_bytes(value)});
}

Result<std::string> FuseClient::getxattr(std::uint64_t node, std::string_view name, std::uint32_t size) {
  const fuse_getxattr_in in{size, 0};
  LB_ASSIGN(const auto value, call(FUSE_GETXATTR, node, {object_bytes(in), with_nul(name)},
                                   size == 0 ? sizeof(fuse_getxattr_out) : size));
  return as_string(value);
}

Result<std::string> FuseClient::listxattr(std::uint64_t node, std::uint32_t size) {
  const fuse_getxattr_in in{size, 0};
  LB_ASSIGN(const auto names,
            call(FUSE_LISTXATTR, node, {object_bytes(in)}, size == 0 ? sizeof(fuse_getxattr_out) : size));
  return as_string(names);
}

Result<void> FuseClient::removexattr(std::uint64_t node, std::string_view name) {
  return call_for_nothing(FUSE_REMOVEXATTR, node, {with_nul(name)});
}

Result<fuse_kstatfs> FuseClient::statfs() {
  LB_ASSIGN(const auto out, call_for<fuse_statfs_out>(FUSE_STATFS, FUSE_ROOT_ID, {}));
  return out.st;
}

Result<void> FuseClient::forget(std::uint64_t node, std::uint64_t count) {
  const fuse_forget_in in{count};
  FakeQueue& queue = guest_.queue(queue_);
  LB_ASSIGN(const auto prepared, queue.prepare(encode(FUSE_FORGET, node, {object_bytes(in)}), 0));
  queue.offer(prepared.head);
  queue.kick();
  LB_ASSIGN(const auto reply, queue.wait(prepared));
  return reply.empty() ? Result<void>() : fail(EBADMSG, "a reply to FORGET");
}

Result<std::vector<FuseClient::Listed>> FuseClient::readdir_page(std::uint64_t node, std::uint64_t cookie,
                                                                 std::uint32_t size, bool plus) {
  fuse_read_in in{};
  in.offset = cookie;
  in.size = size;
  LB_ASSIGN(const auto page, call(plus ? FUSE_READDIRPLUS : FUSE_READDIR, node, {object_bytes(in)}, size));
  std::vector<Listed> listed;
  ByteReader reader(page);
  while (!reader.rest().empty()) {
    Listed entry;
    if (plus) entry.entry = reader.read<fuse_entry_out>();
    const auto dirent = reader.read<fuse_dirent>();
    entry.name = as_string(reader.take(dirent.namelen));
    const auto padding =
        reader.take(FUSE_DIRENT_ALIGN(sizeof(dirent) + dirent.namelen) - sizeof(dirent) - dirent.namelen);
    if (!reader.ok()) return fail(EBADMSG, "a directory entry that is cut short");
    for (const auto byte : padding) {
      if (byte != std::byte{0}) return fail(EBADMSG, "garbage in the padding of ", entry.name);
    }
    entry.next_cookie = dirent.off;
    entry.type = dirent.type;
    listed.push_back(std::move(entry));
  }
  return listed;
}

Result<std::vector<FuseClient::Listed>> FuseClient::readdirplus(std::uint64_t node) {
  std::vector<Listed> all;
  for (std::uint64_t cookie = 0;;) {
    LB_ASSIGN(auto page, readdir_page(node, cookie, kPageBytes, true));
    if (page.empty()) return all;
    cookie = page.back().next_cookie;
    for (auto& entry : page) all.push_back(std::move(entry));
  }
}

}  // namespace layerboot::test
