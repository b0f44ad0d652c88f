#include "oci-mount/tree/tree_check.h"

#include <dirent.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/store/oci_json.h"
#include "oci-mount/tree/limits.h"

namespace layerboot::tree {

namespace {

std::unexpected<Error> broken(std::string_view what) { return fail(EBADMSG, "tree index: ", what); }

// The tables lie one after the other, each aligned to 8, and fill the file.
class Layout {
 public:
  explicit Layout(std::span<const std::byte> file) : file_(file), end_(sizeof(TreeHeader)) {}

  template <typename Record>
  std::span<const Record> take(const TableRef& table) {
    const std::uint64_t start = (end_ + 7) / 8 * 8;
    const auto records = table_at<Record>(file_, table.offset, table.count);
    if (table.offset != start || records.size() != table.count) {
      ok_ = false;
      return {};
    }
    end_ = start + records.size_bytes();
    return records;
  }
  [[nodiscard]] bool fills_file() const { return ok_ && end_ == file_.size(); }

 private:
  std::span<const std::byte> file_;
  std::uint64_t end_;
  bool ok_ = true;
};

class Checker {
 public:
  explicit Checker(TreeTables& tables) : t_(tables), names_of_(tables.nodes.size(), 0) {}

  Result<void> run() {
    if (t_.nodes.empty() || t_.nodes.size() > kMaxNodes) return broken("node count");
    if (!S_ISDIR(t_.nodes[0].mode) || t_.nodes[0].parent != 1 || t_.nodes[0].first_name != 0) {
      return broken("root");
    }
    for (std::uint32_t id = 1; id <= t_.nodes.size(); ++id) LB_TRY(check_node(id));
    for (std::uint32_t id = 1; id <= t_.nodes.size(); ++id) LB_TRY(check_link_count(id));
    if (next_dirent_ != t_.dirents.size() || next_extent_ != t_.extents.size() ||
        next_xattr_ != t_.xattrs.size() || next_link_ != t_.links.size()) {
      return broken("records that belong to no node");
    }
    if (blocks_ != t_.total_blocks) return broken("total of blocks");
    return check_links();
  }

 private:
  // Nodes are numbered breadth first, so a directory's entries name only nodes already named or the next new
  // one: thus every node is reached, and no directory lies below itself.
  Result<void> check_node(std::uint32_t id) {
    const NodeRecord& node = t_.nodes[id - 1];
    if (id >= next_new_id_) return broken("a node without a name");
    if (node.mtime_nsec >= 1'000'000'000) return broken("times of a node");
    if (node.size_bytes > INT64_MAX) return broken("size of a node");
    LB_TRY(check_xattrs(node));
    if (!S_ISREG(node.mode) && node.blocks != 0) return broken("blocks of a node that is no file");
    switch (node.mode & ~kPermissionBits) {
      case S_IFDIR:
        return check_directory(id);
      case S_IFREG:
        return check_file(node);
      case S_IFLNK:
        return check_symlink(node);
      case S_IFCHR:
      case S_IFBLK:
      case S_IFIFO:
        return node.child_count == 0 ? Result<void>() : broken("children of a device");
      default:
        return broken("type of a node");
    }
  }

  Result<void> check_directory(std::uint32_t id) {
    const NodeRecord& node = t_.nodes[id - 1];
    if (node.first_child != next_dirent_ || node.child_count > t_.dirents.size() - next_dirent_) {
      return broken("entries of a directory");
    }
    next_dirent_ += node.child_count;
    std::uint32_t subdirectories = 0;
    std::string_view previous;
    std::uint64_t place = node.first_child;
    for (const DirentRecord& dirent : t_.dirents.subspan(node.first_child, node.child_count)) {
      const std::uint64_t here = place++;
      if (!in_pool(dirent.name_offset, dirent.name_length)) return broken("place of a name");
      const std::string_view name = text(dirent.name_offset, dirent.name_length);
      if (!is_valid_name(name) || name <= previous) return broken("name or order of an entry");
      previous = name;
      if (dirent.node < 2 || dirent.node > t_.nodes.size() || dirent.node > next_new_id_ ||
          dirent.reserved != 0) {
        return broken("node of an entry");
      }
      const NodeRecord& child = t_.nodes[dirent.node - 1];
      if (dirent.node == next_new_id_) {
        if (child.parent != id || child.first_name != here) return broken("parent of a node");
        ++next_new_id_;
      }
      if (dirent.type != IFTODT(child.mode)) return broken("type of an entry");
      ++names_of_[dirent.node - 1];
      if (!S_ISDIR(child.mode)) continue;
      if (names_of_[dirent.node - 1] != 1) return broken("a directory with two parents");
      ++subdirectories;
    }
    return node.nlink == 2 + subdirectories ? Result<void>() : broken("link count of a directory");
  }

  Result<void> check_file(const NodeRecord& node) {
    if (node.first_child != next_extent_ || node.child_count > t_.extents.size() - next_extent_) {
      return broken("extents of a file");
    }
    next_extent_ += node.child_count;
    std::uint64_t covered = 0;
    std::uint64_t blocks = 0;
    for (const ExtentRecord& extent : t_.extents.subspan(node.first_child, node.child_count)) {
      if (extent.file_offset < covered || extent.file_offset > node.size_bytes || extent.length_bytes == 0 ||
          extent.length_bytes > node.size_bytes - extent.file_offset || extent.layer >= store::kMaxLayers ||
          extent.reserved != 0 || extent.stream_offset > INT64_MAX ||
          extent.length_bytes > INT64_MAX - extent.stream_offset) {
        return broken("an extent");
      }
      covered = extent.file_offset + extent.length_bytes;
      blocks += (extent.length_bytes + 4095) / 4096 * 8;
      t_.layer_count = std::max(t_.layer_count, extent.layer + 1);
    }
    blocks_ += blocks;
    return node.blocks == blocks ? Result<void>() : broken("blocks of a file");
  }

  Result<void> check_symlink(const NodeRecord& node) {
    if (!in_pool(node.first_child, node.child_count)) return broken("place of a symlink's target");
    if (!is_valid_symlink_target(text(node.first_child, node.child_count)) ||
        node.size_bytes != node.child_count) {
      return broken("target of a symlink");
    }
    return {};
  }

  Result<void> check_xattrs(const NodeRecord& node) {
    if (node.first_xattr != next_xattr_ || node.xattr_count > t_.xattrs.size() - next_xattr_) {
      return broken("xattrs of a node");
    }
    next_xattr_ += node.xattr_count;
    std::uint64_t total_bytes = 0;
    std::string_view previous;
    for (const XattrRecord& xattr : t_.xattrs.subspan(node.first_xattr, node.xattr_count)) {
      if (!in_pool(xattr.name_offset, xattr.name_length) ||
          !in_pool(xattr.value_offset, xattr.value_length)) {
        return broken("place of an xattr");
      }
      const std::string_view name = text(xattr.name_offset, xattr.name_length);
      if (!is_valid_xattr_name(name) || name <= previous || xattr.reserved != 0)
        return broken("name of an xattr");
      previous = name;
      total_bytes += std::uint64_t{xattr.name_length} + xattr.value_length;
      if (total_bytes > kMaxXattrBytes) return broken("size of a node's xattrs");
    }
    return {};
  }

  // When every entry has been seen.
  Result<void> check_link_count(std::uint32_t id) {
    const NodeRecord& node = t_.nodes[id - 1];
    if (node.first_link != next_link_ || node.link_count > t_.links.size() - next_link_) {
      return broken("place of a node's links");
    }
    next_link_ += node.link_count;
    if (S_ISDIR(node.mode)) return node.link_count == 0 ? Result<void>() : broken("links of a directory");
    const std::uint32_t names = names_of_[id - 1];
    if (node.nlink != names) return broken("link count of a node");
    return node.link_count == (names > 1 ? names : 0) ? Result<void>() : broken("links of a node");
  }

  // The names of what has several are in the order of the entries.
  Result<void> check_links() {
    std::vector<std::uint32_t> seen(t_.nodes.size(), 0);
    for (std::uint32_t id = 1; id <= t_.nodes.size(); ++id) {
      const NodeRecord& node = t_.nodes[id - 1];
      if (!S_ISDIR(node.mode)) continue;
      for (const DirentRecord& dirent : t_.dirents.subspan(node.first_child, node.child_count)) {
        const NodeRecord& child = t_.nodes[dirent.node - 1];
        if (child.link_count == 0) continue;
        const LinkRecord& link = t_.links[child.first_link + seen[dirent.node - 1]++];
        if (link.parent != id || link.name_offset != dirent.name_offset ||
            link.name_length != dirent.name_length || link.reserved != 0) {
          return broken("a link");
        }
      }
    }
    return {};
  }

  [[nodiscard]] bool in_pool(std::uint64_t offset, std::uint64_t length) const {
    return offset + length <= t_.pool.size();
  }
  [[nodiscard]] std::string_view text(std::uint32_t offset, std::uint32_t length) const {
    return t_.pool.substr(offset, length);
  }

  TreeTables& t_;
  std::vector<std::uint32_t> names_of_;
  std::uint64_t next_dirent_ = 0;
  std::uint64_t next_extent_ = 0;
  std::uint64_t next_xattr_ = 0;
  std::uint64_t next_link_ = 0;
  std::uint64_t next_new_id_ = 2;
  std::uint64_t blocks_ = 0;
};

}  // namespace

Result<TreeTables> check_tree_file(std::span<const std::byte> file, std::string_view expected_key) {
  ByteReader reader(file);
  const auto header = reader.read<TreeHeader>();
  if (!reader.ok() || header.magic != kTreeMagic) return broken("not one, or cut short");
  if (header.version != kTreeFormatVersion) return fail(ESTALE, "tree index: of another format version");
  Layout layout(file);
  TreeTables tables;
  tables.nodes = layout.take<NodeRecord>(header.nodes);
  tables.dirents = layout.take<DirentRecord>(header.dirents);
  tables.extents = layout.take<ExtentRecord>(header.extents);
  tables.xattrs = layout.take<XattrRecord>(header.xattrs);
  tables.links = layout.take<LinkRecord>(header.links);
  tables.pool = as_text(layout.take<std::byte>(header.pool));
  tables.total_blocks = header.total_blocks;
  if (!layout.fills_file()) return broken("tables that leave the file or gaps");
  if (XXH3_64bits(reader.rest().data(), reader.rest().size()) != header.body_hash) return broken("hash");
  if (header.key_offset > tables.pool.size() || header.key_length > tables.pool.size() - header.key_offset) {
    return broken("place of the key");
  }
  if (tables.pool.substr(header.key_offset, header.key_length) != expected_key) {
    return fail(ESTALE, "tree index: of other layers");
  }
  LB_TRY(Checker(tables).run());
  return tables;
}

}  // namespace layerboot::tree
