#include "oci-mount/mount/tar_stream.h"

#include <sys/stat.h>

#include <string>
#include <unordered_map>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/device_number.h"
#include "oci-mount/base/log.h"
#include "oci-mount/mount/output.h"
#include "oci-mount/mount/tar_output.h"
#include "oci-mount/store/pax_header.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::mount {

namespace {

class TarStream {
 public:
  TarStream(const overlay::Lower& lower, Reactor& reactor, int out_fd)
      : lower_(lower),
        tree_(lower.tree),
        reactor_(reactor),
        output_([out_fd](std::span<const std::byte> bytes) { return write_out(out_fd, bytes); }) {}

  // Depth first without recursion: a tree may be a thousand directories deep.
  Result<void> run() {
    LB_TRY(add(tree::kRoot, "./"));
    struct Level {
      tree::NodeId directory;
      std::size_t next;
      std::size_t prefix_length;
    };
    std::string path;
    std::vector<Level> levels{{tree::kRoot, 0, 0}};
    while (!levels.empty()) {
      Level& level = levels.back();
      const auto entries = tree_.entries(level.directory);
      path.resize(level.prefix_length);
      if (level.next == entries.size()) {
        levels.pop_back();
        continue;
      }
      const tree::DirentRecord& entry = entries[level.next++];
      path += tree_.name(entry);
      const bool directory = S_ISDIR(tree_.node(entry.node).mode);
      if (directory) path += '/';
      LB_TRY(add(entry.node, path));
      if (directory) levels.push_back({entry.node, 0, path.size()});
    }
    LB_TRY(output_.put_zeros(store::kTarEndBytes));
    return output_.flush();
  }

 private:
  Result<void> add(tree::NodeId id, const std::string& path) {
    const tree::NodeRecord& node = tree_.node(id);
    if (S_ISSOCK(node.mode)) {
      log_warn("/", path, ": a socket, which a tar can't hold, is left out");
      return {};
    }
    store::PaxMember member;
    member.name = path;
    member.mode = node.mode;
    member.uid = node.uid;
    member.gid = node.gid;
    member.mtime_sec = node.mtime_sec;
    member.mtime_nsec = node.mtime_nsec;
    if (node.link_count != 0) {
      const auto [first, is_first] = first_names_.try_emplace(id, path);
      member.hard_link = !is_first;
      if (!is_first) member.link = first->second;
    }
    if (!member.hard_link) describe(id, node, path, member);
    LB_TRY(output_.put(as_bytes(store::pax_header(member))));
    if (member.size_bytes == 0) return {};
    auto done = output_.put_data(node.size_bytes, [&](std::uint64_t offset, std::span<std::byte> into) {
      return read_lower(lower_, reactor_, id, offset, into);
    });
    if (!done) return while_doing(done.error(), "/", path);
    return {};
  }

  void describe(tree::NodeId id, const tree::NodeRecord& node, std::string_view path,
                store::PaxMember& member) {
    if (S_ISREG(node.mode)) member.size_bytes = node.size_bytes;
    if (S_ISLNK(node.mode)) member.link = tree_.symlink_target(id);
    if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) {
      member.device_major = major_of(node.rdev);
      member.device_minor = minor_of(node.rdev);
    }
    for (const tree::XattrRecord& xattr : tree_.xattrs(id)) {
      const std::string_view name = tree_.xattr_name(xattr);
      if (fits_tar(str_cat("/", path), name)) member.xattrs.emplace_back(name, tree_.xattr_value(xattr));
    }
  }

  const overlay::Lower& lower_;
  const tree::Tree& tree_;
  Reactor& reactor_;
  TarOutput output_;
  std::unordered_map<tree::NodeId, std::string> first_names_;  // of nodes with several
};

}  // namespace

Result<void> write_tar(const overlay::Lower& lower, Reactor& reactor, int out_fd) {
  return TarStream(lower, reactor, out_fd).run();
}

}  // namespace layerboot::mount
