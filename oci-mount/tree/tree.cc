#include "oci-mount/tree/tree.h"

#include <sys/stat.h>

#include <algorithm>
#include <vector>

namespace layerboot::tree {

Result<std::unique_ptr<const Tree>> Tree::open(int fd, std::string_view expected_key) {
  LB_ASSIGN(Mapping mapping, Mapping::read_only(fd));
  LB_ASSIGN(const TreeTables tables, check_tree_file(mapping.bytes(), expected_key));
  return std::unique_ptr<const Tree>(new Tree(std::move(mapping), tables));
}

NodeId Tree::lookup(NodeId directory, std::string_view name) const {
  const auto all = entries(directory);
  const auto found =
      std::lower_bound(all.begin(), all.end(), name,
                       [this](const DirentRecord& entry, auto wanted) { return this->name(entry) < wanted; });
  return found != all.end() && this->name(*found) == name ? found->node : kNoNode;
}

std::span<const DirentRecord> Tree::entries(NodeId directory) const {
  const NodeRecord& record = node(directory);
  if (!S_ISDIR(record.mode)) return {};
  return tables_.dirents.subspan(record.first_child, record.child_count);
}

std::string_view Tree::name(const DirentRecord& entry) const {
  return tables_.pool.substr(entry.name_offset, entry.name_length);
}

NodeId Tree::parent(NodeId id) const { return node(id).parent; }

std::string_view Tree::name_in_parent(NodeId id) const {
  if (id == kRoot) return {};
  return name(tables_.dirents[node(id).first_name]);
}

std::string Tree::path(NodeId id) const {
  if (id == kRoot) return "/";
  std::vector<std::string_view> names;
  for (; id != kRoot; id = parent(id)) names.push_back(name_in_parent(id));
  std::string text;
  for (auto part = names.rbegin(); part != names.rend(); ++part) text.append("/").append(*part);
  return text;
}

std::string_view Tree::symlink_target(NodeId symlink) const {
  const NodeRecord& record = node(symlink);
  if (!S_ISLNK(record.mode)) return {};
  return tables_.pool.substr(record.first_child, record.child_count);
}

std::span<const ExtentRecord> Tree::extents(NodeId file) const {
  const NodeRecord& record = node(file);
  if (!S_ISREG(record.mode)) return {};
  return tables_.extents.subspan(record.first_child, record.child_count);
}

std::span<const XattrRecord> Tree::xattrs(NodeId id) const {
  return tables_.xattrs.subspan(node(id).first_xattr, node(id).xattr_count);
}

std::string_view Tree::xattr_name(const XattrRecord& xattr) const {
  return tables_.pool.substr(xattr.name_offset, xattr.name_length);
}

std::string_view Tree::xattr_value(const XattrRecord& xattr) const {
  return tables_.pool.substr(xattr.value_offset, xattr.value_length);
}

std::optional<std::string_view> Tree::xattr(NodeId id, std::string_view name) const {
  for (const XattrRecord& xattr : xattrs(id)) {
    if (xattr_name(xattr) == name) return xattr_value(xattr);
  }
  return std::nullopt;
}

std::span<const LinkRecord> Tree::links(NodeId id) const {
  return tables_.links.subspan(node(id).first_link, node(id).link_count);
}

std::string_view Tree::name(const LinkRecord& link) const {
  return tables_.pool.substr(link.name_offset, link.name_length);
}

}  // namespace layerboot::tree
