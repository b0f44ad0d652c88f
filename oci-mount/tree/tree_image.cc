#include "oci-mount/tree/tree_image.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/device_number.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/stream_hash.h"
#include "oci-mount/layer/whiteout_names.h"
#include "oci-mount/tree/limits.h"

namespace layerboot::tree {

using layer::EntryType;
using layer::EntryView;

namespace {

constexpr std::uint32_t kImplicitDirectoryMode = 0755;
constexpr std::uint64_t kDirectorySizeBytes = 4096;
constexpr std::uint64_t kAllocationUnitBytes = 4096;
constexpr std::uint64_t kBlockBytes = 512;

std::optional<std::uint32_t> type_bits(EntryType type) {
  switch (type) {
    case EntryType::kFile:
      return S_IFREG;
    case EntryType::kDirectory:
      return S_IFDIR;
    case EntryType::kSymlink:
      return S_IFLNK;
    case EntryType::kCharDevice:
      return S_IFCHR;
    case EntryType::kBlockDevice:
      return S_IFBLK;
    case EntryType::kFifo:
      return S_IFIFO;
    case EntryType::kHardLink:
    case EntryType::kLinkBelow:
    case EntryType::kWhiteout:
    case EntryType::kOpaque:
      break;
  }
  return std::nullopt;
}

// As the image shows it. Nothing where it is meant for overlayfs, not for who sees the files: left out, as
// containerd does.
std::optional<std::string_view> shown_xattr_name(std::string_view name) {
  if (!name.starts_with(layer::kOverlayXattrPrefix)) return name;
  if (!name.starts_with(layer::kGuestXattrPrefix)) return std::nullopt;
  name.remove_prefix(layer::kGuestXattrPrefix.size());
  if (!name.starts_with(layer::kTrustedPrefix)) return std::nullopt;
  return name;
}

template <typename Record>
std::span<const std::byte> table_bytes(const std::vector<Record>& table) {
  return std::as_bytes(std::span(table));
}

}  // namespace

/// Fills the tables of an image from a merged tree.
class TreeImage::Layout {
 public:
  Layout(TreeImage& image, const Merge& merge, std::span<const LayerEntries* const> layers)
      : image_(image), merge_(merge), layers_(layers) {}

  Result<void> fill(std::string_view key);

 private:
  using Index = MergedNode::Index;

  Result<void> number_nodes();
  Result<void> fill_directory(std::uint32_t id, std::vector<std::uint32_t>& id_of);
  Result<void> fill_node(std::uint32_t id);
  Result<void> fill_file(NodeRecord& record, const EntryView& entry, std::uint32_t layer);
  Result<void> fill_xattrs(NodeRecord& record, const EntryView& entry);
  void fill_links();
  Result<std::uint32_t> put(std::string_view text);
  Result<std::uint32_t> put_once(std::string_view text);

  TreeImage& image_;
  const Merge& merge_;
  std::span<const LayerEntries* const> layers_;
  std::vector<Index> order_;                                    // merged node of each id; order_[0] is id 1
  std::unordered_map<std::string_view, std::uint32_t> pooled_;  // put_once(): texts live in the layers
};

Result<TreeImage> TreeImage::lay_out(const Merge& merge, std::span<const LayerEntries* const> layers,
                                     std::string_view key) {
  TreeImage image;
  LB_TRY(Layout(image, merge, layers).fill(key));
  return image;
}

Result<void> TreeImage::Layout::fill(std::string_view key) {
  LB_ASSIGN(image_.key_offset_, put(key));
  image_.key_length_ = static_cast<std::uint32_t>(key.size());
  LB_TRY(number_nodes());
  for (std::uint32_t id = 1; id <= order_.size(); ++id) {
    auto filled = fill_node(id);
    if (filled) continue;
    const MergedNode& node = merge_.nodes()[order_[id - 1]];
    return while_doing(filled.error(), "layer ", node.layer, " (", layers_[node.layer]->identity(),
                       "): ", layers_[node.layer]->entry(node.entry).path.substr(0, 256));
  }
  fill_links();
  return {};
}

Result<void> TreeImage::Layout::number_nodes() {
  std::vector<std::uint32_t> id_of(merge_.nodes().size(), 0);
  order_.reserve(merge_.nodes().size());
  image_.nodes_.reserve(merge_.nodes().size());
  image_.dirents_.reserve(merge_.nodes().size());
  order_.push_back(Merge::kRootIndex);
  image_.nodes_.emplace_back().parent = 1;
  id_of[Merge::kRootIndex] = 1;
  for (std::uint32_t id = 1; id <= order_.size(); ++id) LB_TRY(fill_directory(id, id_of));
  return {};
}

Result<void> TreeImage::Layout::fill_directory(std::uint32_t id, std::vector<std::uint32_t>& id_of) {
  const MergedNode& directory = merge_.nodes()[order_[id - 1]];
  if (!directory.children) return {};
  image_.nodes_[id - 1].first_child = static_cast<std::uint32_t>(image_.dirents_.size());
  image_.nodes_[id - 1].child_count = static_cast<std::uint32_t>(directory.children->size());
  image_.nodes_[id - 1].nlink = 2;
  for (const auto& [name, index] : *directory.children) {
    const MergedNode& child = merge_.nodes()[index];
    if (id_of[index] == 0) {
      order_.push_back(index);
      NodeRecord& named = image_.nodes_.emplace_back();
      named.parent = id;
      named.first_name = static_cast<std::uint32_t>(image_.dirents_.size());
      id_of[index] = static_cast<std::uint32_t>(order_.size());
    }
    NodeRecord& record = image_.nodes_[id_of[index] - 1];
    DirentRecord dirent{};
    LB_ASSIGN(dirent.name_offset, put(name));
    dirent.name_length = static_cast<std::uint16_t>(name.size());
    dirent.node = id_of[index];
    ++(child.children ? image_.nodes_[id - 1] : record).nlink;
    if (image_.dirents_.size() >= kMaxNodes)
      return fail(E2BIG, "the image has more than ", kMaxNodes, " names");
    image_.dirents_.push_back(dirent);
  }
  return {};
}

Result<void> TreeImage::Layout::fill_node(std::uint32_t id) {
  const MergedNode& node = merge_.nodes()[order_[id - 1]];
  NodeRecord& record = image_.nodes_[id - 1];
  record.first_xattr = static_cast<std::uint32_t>(image_.xattrs_.size());
  if (node.entry == MergedNode::kImplicit) {
    record.mode = S_IFDIR | kImplicitDirectoryMode;
    record.size_bytes = kDirectorySizeBytes;
    return {};
  }
  const EntryView entry = layers_[node.layer]->entry(node.entry);
  const auto type = type_bits(entry.type);
  if (!type || (*type == S_IFDIR) != (node.children != nullptr)) return fail(EINVAL, "of an unknown type");
  if (entry.mode & ~kPermissionBits) return fail(EINVAL, "mode with more than permission bits");
  if (entry.mtime_nsec >= 1'000'000'000) return fail(EINVAL, "mtime with over 999999999 nanoseconds");
  record.mode = *type | entry.mode;
  record.uid = entry.uid;
  record.gid = entry.gid;
  record.mtime_sec = entry.mtime_sec;
  record.mtime_nsec = entry.mtime_nsec;
  LB_TRY(fill_xattrs(record, entry));
  switch (entry.type) {
    case EntryType::kDirectory:
      record.size_bytes = kDirectorySizeBytes;
      return {};
    case EntryType::kFile:
      return fill_file(record, entry, node.layer);
    case EntryType::kSymlink: {
      if (!is_valid_symlink_target(entry.link))
        return fail(EINVAL, "symlink target empty, too long or with a NUL");
      LB_ASSIGN(record.first_child, put_once(entry.link));
      record.child_count = static_cast<std::uint32_t>(entry.link.size());
      record.size_bytes = entry.link.size();
      return {};
    }
    case EntryType::kCharDevice:
    case EntryType::kBlockDevice:
      if (entry.rdev_major > kMaxDeviceMajor || entry.rdev_minor > kMaxDeviceMinor) {
        return fail(EINVAL, "device number ", entry.rdev_major, ":", entry.rdev_minor,
                    " is beyond what Linux has");
      }
      record.rdev = encode_dev(entry.rdev_major, entry.rdev_minor);
      return {};
    default:
      return {};
  }
}

Result<void> TreeImage::Layout::fill_file(NodeRecord& record, const EntryView& entry, std::uint32_t layer) {
  if (entry.extents.size() > layer::kMaxSparseExtents)
    return fail(E2BIG, "more than ", layer::kMaxSparseExtents, " pieces of data");
  if (entry.size_bytes > INT64_MAX) return fail(EFBIG, "larger than any file can be");
  if (image_.extents_.size() + entry.extents.size() > UINT32_MAX)
    return fail(E2BIG, "the image has too many extents");
  record.size_bytes = entry.size_bytes;
  record.first_child = static_cast<std::uint32_t>(image_.extents_.size());
  std::uint64_t covered = 0;
  for (const layer::Extent& extent : entry.extents) {
    if (extent.length_bytes == 0) continue;
    if (extent.file_offset < covered || extent.file_offset > entry.size_bytes ||
        extent.length_bytes > entry.size_bytes - extent.file_offset || extent.stream_offset > INT64_MAX ||
        extent.length_bytes > INT64_MAX - extent.stream_offset) {
      return fail(EINVAL, "data extents that overlap or leave the file");
    }
    covered = extent.file_offset + extent.length_bytes;
    record.blocks += (extent.length_bytes + kAllocationUnitBytes - 1) / kAllocationUnitBytes *
                     (kAllocationUnitBytes / kBlockBytes);
    image_.extents_.push_back({.file_offset = extent.file_offset,
                               .stream_offset = extent.stream_offset,
                               .length_bytes = extent.length_bytes,
                               .layer = layer,
                               .reserved = 0});
    ++record.child_count;
  }
  image_.total_blocks_ += record.blocks;
  return {};
}

Result<void> TreeImage::Layout::fill_xattrs(NodeRecord& record, const EntryView& entry) {
  if (entry.xattrs.empty()) return {};
  std::vector<layer::XattrView> sorted;
  for (const layer::XattrView& xattr : entry.xattrs) {
    if (const auto name = shown_xattr_name(xattr.name)) sorted.push_back({*name, xattr.value});
  }
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::size_t total_bytes = 0;
  std::string_view previous;
  for (const layer::XattrView& xattr : sorted) {
    if (!is_valid_xattr_name(xattr.name)) return fail(EINVAL, "xattr name empty, too long or with a NUL");
    if (xattr.name == previous) return fail(EINVAL, "xattr ", xattr.name, " twice");
    previous = xattr.name;
    total_bytes += xattr.name.size() + xattr.value.size();
    if (total_bytes > kMaxXattrBytes) return fail(E2BIG, "xattrs over ", kMaxXattrBytes, " bytes");
    XattrRecord stored{};
    LB_ASSIGN(stored.name_offset, put_once(xattr.name));
    LB_ASSIGN(stored.value_offset, put_once(xattr.value));
    stored.name_length = static_cast<std::uint16_t>(xattr.name.size());
    stored.value_length = static_cast<std::uint32_t>(xattr.value.size());
    image_.xattrs_.push_back(stored);
    ++record.xattr_count;
  }
  return {};
}

// Needs nlink of every node, and the final type of every entry.
void TreeImage::Layout::fill_links() {
  std::uint32_t next = 0;
  for (NodeRecord& record : image_.nodes_) {
    record.first_link = next;
    if (S_ISDIR(record.mode) || record.nlink < 2) continue;
    record.link_count = record.nlink;
    next += record.link_count;
  }
  image_.links_.resize(next);
  std::vector<std::uint32_t> used(image_.nodes_.size(), 0);
  for (std::uint32_t id = 1; id <= image_.nodes_.size(); ++id) {
    if (!S_ISDIR(image_.nodes_[id - 1].mode)) continue;
    for (std::uint32_t i = 0; i < image_.nodes_[id - 1].child_count; ++i) {
      DirentRecord& dirent = image_.dirents_[image_.nodes_[id - 1].first_child + i];
      const NodeRecord& child = image_.nodes_[dirent.node - 1];
      dirent.type = static_cast<std::uint8_t>(IFTODT(child.mode));
      if (child.link_count == 0) continue;
      image_.links_[child.first_link + used[dirent.node - 1]++] = {
          .parent = id, .name_offset = dirent.name_offset, .name_length = dirent.name_length, .reserved = 0};
    }
  }
}

Result<std::uint32_t> TreeImage::Layout::put(std::string_view text) {
  if (text.size() > UINT32_MAX - image_.pool_.size())
    return fail(E2BIG, "names and xattrs of the image are over 4 GiB");
  const auto offset = static_cast<std::uint32_t>(image_.pool_.size());
  image_.pool_ += text;
  return offset;
}

Result<std::uint32_t> TreeImage::Layout::put_once(std::string_view text) {
  if (const auto found = pooled_.find(text); found != pooled_.end()) return found->second;
  LB_ASSIGN(const std::uint32_t offset, put(text));
  pooled_.emplace(text, offset);
  return offset;
}

Result<void> TreeImage::write(FileAppender& file) const {
  TreeHeader header{};
  header.magic = kTreeMagic;
  header.version = kTreeFormatVersion;
  header.key_length = key_length_;
  header.key_offset = key_offset_;
  header.total_blocks = total_blocks_;
  constexpr std::size_t kAlignment = 8;
  constexpr std::array<std::byte, kAlignment> kPadding{};
  std::uint64_t size_bytes = sizeof(TreeHeader);
  std::vector<std::span<const std::byte>> body;
  const auto lay = [&](TableRef& table, std::span<const std::byte> bytes, std::size_t count) {
    const std::size_t padding = (kAlignment - size_bytes % kAlignment) % kAlignment;
    body.push_back(std::span(kPadding).first(padding));
    body.push_back(bytes);
    table = {.offset = size_bytes + padding, .count = count};
    size_bytes = table.offset + bytes.size();
  };
  lay(header.nodes, table_bytes(nodes_), nodes_.size());
  lay(header.dirents, table_bytes(dirents_), dirents_.size());
  lay(header.extents, table_bytes(extents_), extents_.size());
  lay(header.xattrs, table_bytes(xattrs_), xattrs_.size());
  lay(header.links, table_bytes(links_), links_.size());
  lay(header.pool, as_bytes(pool_), pool_.size());
  LB_ASSIGN(auto hash, layer::StreamHash::create());
  for (const auto part : body) hash.update(part);
  header.body_hash = hash.digest();
  LB_TRY(file.append(object_bytes(header)));
  for (const auto part : body) LB_TRY(file.append(part));
  return {};
}

}  // namespace layerboot::tree
