#include "bench/served_tree.h"

#include <fcntl.h>

#include <cstring>

#include "bench/sample_tree.h"
#include "oci-mount/base/bytes.h"

namespace layerboot::bench {

namespace {

constexpr std::uint32_t kReadBytes = 128U << 10;

/// A handle, or 0 with `sends_open` cleared when the server wants no OPEN.
Result<std::uint64_t> open_node(test::FuseClient& client, std::uint32_t opcode, std::uint64_t node,
                                std::uint32_t flags, bool& sends_open) {
  const fuse_open_in in{flags, 0};
  const auto reply = client.call(opcode, node, {object_bytes(in)}, sizeof(fuse_open_out));
  if (!reply && reply.error().code == ENOSYS) {
    sends_open = false;
    return std::uint64_t{0};
  }
  if (!reply) return std::unexpected(reply.error());
  return ByteReader(*reply).read<fuse_open_out>().fh;
}

Result<std::uint64_t> look(test::FuseClient& client, std::uint64_t parent, const std::string& name) {
  auto entry = client.lookup(parent, name);
  if (!entry) return while_doing(entry.error(), "looking up ", name);
  if (entry->nodeid == 0)
    return fail(ENOENT, name, " is not served: is the sample tree what the server has?");
  return entry->nodeid;
}

/// So that what is measured is the server's caches, filled, and not who comes first.
Result<void> read_through(test::FuseClient& client, const ServedTree::File& file) {
  for (std::uint64_t at = 0; at < file.size_bytes; at += kReadBytes) {
    fuse_read_in in{};
    in.fh = file.handle;
    in.offset = at;
    in.size = kReadBytes;
    const auto reply = client.call(FUSE_READ, file.node, {object_bytes(in)}, kReadBytes);
    if (!reply) return while_doing(reply.error(), "reading big.bin");
  }
  return {};
}

Result<ServedTree::File> make_target(test::FuseClient& client, std::uint64_t directory, unsigned lane) {
  const std::string name = "target";
  const fuse_create_in in{O_RDWR | O_CREAT, 0100644, 022, 0};
  const auto created = client.call(FUSE_CREATE, directory, {object_bytes(in), test::with_nul(name)},
                                   sizeof(fuse_entry_out) + sizeof(fuse_open_out));
  if (!created) return while_doing(created.error(), "creating a file to write to");
  ByteReader reader(*created);
  ServedTree::File file;
  file.node = reader.read<fuse_entry_out>().nodeid;
  file.handle = reader.read<fuse_open_out>().fh;
  file.seed = 50 + lane;
  file.size_bytes = kTargetBytes;
  std::vector<std::byte> piece(kReadBytes);
  for (std::uint64_t at = 0; at < kTargetBytes; at += piece.size()) {
    fill_expected(file.seed, at, piece);
    fuse_write_in write{};
    write.fh = file.handle;
    write.offset = at;
    write.size = kReadBytes;
    const auto written =
        client.call(FUSE_WRITE, file.node, {object_bytes(write), piece}, sizeof(fuse_write_out));
    if (!written) return while_doing(written.error(), "filling a file to write to");
  }
  return file;
}

}  // namespace

Result<ServedTree> meet_server(test::FuseClient& client, bool writable, unsigned lanes) {
  LB_TRY(client.init());
  ServedTree tree;
  LB_ASSIGN(tree.big.node, look(client, FUSE_ROOT_ID, "big.bin"));
  tree.big.seed = kBigFileSeed;
  tree.big.size_bytes = kBigFileBytes;
  LB_ASSIGN(tree.big.handle, open_node(client, FUSE_OPEN, tree.big.node, O_RDONLY, tree.sends_open));
  LB_TRY(read_through(client, tree.big));
  LB_ASSIGN(tree.small_directory, look(client, FUSE_ROOT_ID, "small"));
  for (unsigned i = 0; i < kSmallFiles; ++i) {
    LB_ASSIGN(const auto node, look(client, tree.small_directory, small_file_name(i)));
    tree.small.push_back({node, 0, 100 + i, small_file_bytes(i)});
  }
  LB_ASSIGN(const auto walk, look(client, FUSE_ROOT_ID, "walk"));
  for (unsigned i = 0; i < kWalkDirectories; ++i) {
    LB_ASSIGN(const auto directory, look(client, walk, str_cat("directory-", i)));
    tree.directories.push_back(directory);
  }
  LB_TRY(open_node(client, FUSE_OPENDIR, walk, O_RDONLY | O_DIRECTORY, tree.sends_opendir));
  if (!writable) return tree;
  LB_ASSIGN(const auto scratch, look(client, FUSE_ROOT_ID, "scratch"));
  for (unsigned lane = 0; lane < lanes; ++lane) {
    LB_ASSIGN(const auto own, client.mkdir(scratch, str_cat("lane-", lane), 0755));
    tree.scratch.push_back(own.nodeid);
    LB_ASSIGN(const auto target, make_target(client, own.nodeid, lane));
    tree.targets.push_back(target);
  }
  return tree;
}

}  // namespace layerboot::bench
