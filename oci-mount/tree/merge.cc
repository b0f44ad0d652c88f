#include "oci-mount/tree/merge.h"

#include <algorithm>
#include <string>

#include "oci-mount/base/log.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/whiteout_names.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::tree {

using layer::EntryType;
using layer::EntryView;

namespace {

// Followed for one hard link's target, as umoci has it; and the parts of its path, those of symlinks counted.
constexpr std::size_t kMaxSymlinks = 255;
constexpr std::size_t kMaxPartsWalked = 8192;

constexpr std::string_view kEntriesBelowLink = "a hard link under which the same layer has other entries";

bool is_mark(const EntryView& entry) {
  return entry.type == EntryType::kWhiteout || entry.type == EntryType::kOpaque;
}

// overlayfs's own whiteout, which a tar of an upper directory holds: nobody meant it as a device. Those of
// which a layer says that they are devices are what a guest's own overlayfs has made.
bool is_overlayfs_whiteout(const EntryView& entry) {
  if (entry.type != EntryType::kCharDevice || entry.rdev_major != 0 || entry.rdev_minor != 0) return false;
  return std::ranges::find(entry.xattrs, layer::kDeviceZeroXattr, &layer::XattrView::name) ==
         entry.xattrs.end();
}

// Takes the first component off `rest`.
std::string_view take_component(std::string_view& rest) {
  const std::size_t slash = rest.find('/');
  const std::string_view name = rest.substr(0, slash);
  rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
  return name;
}

}  // namespace

Merge::Merge(std::uint32_t max_nodes) : max_nodes_(max_nodes) {
  nodes_.emplace_back();
  nodes_.front().children = std::make_unique<MergedNode::Children>();
}

Result<void> Merge::add(const LayerEntries& source) {
  if (layer_count_ == store::kMaxLayers)
    return fail(E2BIG, "the image, with the layers that are put on top of it, has more than ",
                store::kMaxLayers, " layers");
  layer_name_ = source.identity();
  const std::uint32_t count = source.entry_count();
  if (count > layer::kMaxEntries) {
    return fail(E2BIG, "layer ", layer_count_, " (", layer_name_, ") has ", count, " entries; the limit is ",
                layer::kMaxEntries);
  }
  layers_.push_back(&source);
  left_out_.clear();
  last_directory_ = {"", kRootIndex};
  LB_TRY(look_at(source));
  // Marks hide what is below this layer, wherever in the layer they stand: so all of them come first.
  for (const std::uint32_t i : marks_) LB_TRY(hide_lower(source.entry(i)));
  for (std::uint32_t i = 0; i < count; ++i) {
    const EntryView entry = source.entry(i);
    if (is_mark(entry)) continue;
    LB_TRY(add_entry(entry, i));
  }
  for (const std::uint32_t i : marks_) LB_TRY(make_mark_directory(source.entry(i)));
  LB_TRY(resolve_links());
  if (!left_out_.empty()) {
    log_warn("layer ", layer_count_, " (", layer_name_, "): left out ", left_out_.size(),
             " character devices 0:0, which are no devices but marks of overlayfs; the first is ",
             printable(*left_out_.begin()));
  }
  ++layer_count_;
  return {};
}

Result<void> Merge::look_at(const LayerEntries& source) {
  marks_.clear();
  whiteouts_.clear();
  waiting_links_.clear();
  std::string ignored;
  for (std::uint32_t i = 0; i < source.entry_count(); ++i) {
    const EntryView entry = source.entry(i);
    if (auto valid = check_path(entry.path); !valid) return error_at(EINVAL, entry.path, valid.error().text);
    if (is_mark(entry)) marks_.push_back(i);
    if (entry.type == EntryType::kWhiteout) whiteouts_.insert(entry.path);
    // Found before this layer hides or replaces anything: the link may have been made before that.
    if (entry.type != EntryType::kLinkBelow && entry.type != EntryType::kHardLink) continue;
    WaitingLink& link = waiting_links_[entry.path];
    link.target = entry.link;
    if (entry.type == EntryType::kLinkBelow && check_path(entry.link))
      link.below = find_through_symlinks(entry.link, ignored);
  }
  return {};
}

/// A mark's directory exists in this layer, as overlayfs would have it; unless the layer says otherwise: by a
/// whiteout of it, or by something else in its place.
Result<void> Merge::make_mark_directory(const EntryView& mark) {
  const std::string_view directory = mark.type == EntryType::kOpaque ? mark.path : parent_path(mark.path);
  Index at = kRootIndex;
  for (std::size_t end = 0; end < directory.size();) {
    end = std::min(directory.find('/', end + 1), directory.size());
    const std::string_view path = directory.substr(0, end);
    const auto child = nodes_[at].children->find(last_component(path));
    const bool is_there = child != nodes_[at].children->end();
    if (is_there && nodes_[child->second].children) {
      at = child->second;
      continue;
    }
    const bool is_ours = is_there && nodes_[child->second].layer == layer_count_;
    if (is_ours || whiteouts_.contains(path) || waiting_links_.contains(path)) return {};
    LB_TRY(ensure_directory(directory));
    return {};
  }
  return {};
}

Result<void> Merge::hide_lower(const EntryView& mark) {
  if (mark.type == EntryType::kWhiteout) {
    if (mark.path.empty()) return error_at(EINVAL, "", "a whiteout of the root directory");
    detach(mark.path);
    return {};
  }
  if (const auto found = find(mark.path); found && nodes_[*found].children) nodes_[*found].children->clear();
  return {};
}

Result<void> Merge::add_entry(const EntryView& entry, std::uint32_t entry_index) {
  const bool directory = entry.type == EntryType::kDirectory;
  if (entry.path.empty()) {
    if (!directory) return error_at(EINVAL, "", "the root of the layer is no directory");
    nodes_[kRootIndex].layer = layer_count_;
    nodes_[kRootIndex].entry = entry_index;
    return {};
  }
  if (is_overlayfs_whiteout(entry)) {
    left_out_.insert(entry.path);
    return {};
  }
  LB_ASSIGN(const Index parent, ensure_directory(parent_path(entry.path)));
  const std::string_view name = last_component(entry.path);
  if (entry.type == EntryType::kHardLink || entry.type == EntryType::kLinkBelow) {
    detach(entry.path);
    return {};
  }
  const auto existing = nodes_[parent].children->find(name);
  if (directory && existing != nodes_[parent].children->end() && nodes_[existing->second].children) {
    nodes_[existing->second].layer = layer_count_;
    nodes_[existing->second].entry = entry_index;
    return {};
  }
  LB_ASSIGN(const Index made, make_node(entry_index, directory));
  if (existing == nodes_[parent].children->end()) {
    nodes_[parent].children->emplace(name, made);
  } else {
    existing->second = made;
    last_directory_ = {"", kRootIndex};
  }
  return {};
}

// A hard link's target may be another hard link of this layer, before or after it: each chain is resolved
// from its end, once.
Result<void> Merge::resolve_links() {
  while (!waiting_links_.empty()) LB_TRY(resolve_link_chain(waiting_links_.begin()->first));
  return {};
}

Result<void> Merge::resolve_link_chain(std::string_view path) {
  std::vector<std::string_view> chain;
  std::string_view target = path;
  std::string without_symlinks;
  std::optional<Index> found;
  for (auto link = waiting_links_.find(target); link != waiting_links_.end();
       link = waiting_links_.find(without_symlinks)) {
    if (link->second.state == LinkState::kInProgress) {
      return error_at(EINVAL, path, "a hard link that leads back to itself");
    }
    link->second.state = LinkState::kInProgress;
    chain.push_back(link->first);
    target = link->second.target;
    without_symlinks = target;
    found = link->second.below;
    if (!found && !waiting_links_.contains(target) && check_path(target))
      found = find_through_symlinks(target, without_symlinks);
    if (found) break;
  }
  if (!found && left_out_.contains(target)) {
    for (const std::string_view name : chain) {
      if (find(name)) return error_at(EINVAL, name, kEntriesBelowLink);
      left_out_.insert(name);
      waiting_links_.erase(name);
    }
    return {};
  }
  if (!found)
    return error_at(ENOENT, path, str_cat("a hard link to ", printable(target), ", which does not exist"));
  if (nodes_[*found].children)
    return error_at(EPERM, path, str_cat("a hard link to the directory ", printable(target)));
  for (const std::string_view name : chain) {
    LB_ASSIGN(const Index parent, ensure_directory(parent_path(name)));
    if (!nodes_[parent].children->try_emplace(last_component(name), *found).second) {
      return error_at(EINVAL, name, kEntriesBelowLink);
    }
    waiting_links_.erase(name);
  }
  return {};
}

Result<MergedNode::Index> Merge::make_node(std::uint32_t entry_index, bool directory) {
  if (nodes_.size() >= max_nodes_) return fail(E2BIG, "the image has more than ", max_nodes_, " files");
  MergedNode node{.layer = layer_count_, .entry = entry_index, .children = nullptr};
  if (directory) node.children = std::make_unique<MergedNode::Children>();
  nodes_.push_back(std::move(node));
  return static_cast<Index>(nodes_.size() - 1);
}

// A symlink on the way is never followed: what is there and is no directory, of a lower layer, gives way to
// one.
Result<MergedNode::Index> Merge::ensure_directory(std::string_view path) {
  if (path == last_directory_.first) return last_directory_.second;
  Index at = kRootIndex;
  for (std::string_view rest = path; !rest.empty();) {
    const std::string_view name = take_component(rest);
    const auto child = nodes_[at].children->find(name);
    if (child != nodes_[at].children->end() && nodes_[child->second].children) {
      at = child->second;
      continue;
    }
    if (child != nodes_[at].children->end() && nodes_[child->second].layer == layer_count_) {
      return error_at(ENOTDIR, path,
                      "should be a directory, but the same layer makes a part of it something else");
    }
    LB_ASSIGN(const Index made, make_node(MergedNode::kImplicit, true));
    (*nodes_[at].children)[name] = made;
    at = made;
  }
  last_directory_ = {path, at};
  return at;
}

std::optional<MergedNode::Index> Merge::find(std::string_view path) const {
  Index at = kRootIndex;
  for (std::string_view rest = path; !rest.empty();) {
    if (!nodes_[at].children) return std::nullopt;
    const auto child = nodes_[at].children->find(take_component(rest));
    if (child == nodes_[at].children->end()) return std::nullopt;
    at = child->second;
  }
  return at;
}

std::optional<MergedNode::Index> Merge::find_through_symlinks(std::string_view path,
                                                              std::string& missing) const {
  Index at = kRootIndex;
  std::vector<std::pair<Index, std::string_view>> above;  // the directories that lead to `at`, and its names
  std::vector<std::string_view> rest{path};
  for (std::size_t parts = 0, symlinks = 0; !rest.empty(); ++parts) {
    if (parts == kMaxPartsWalked) return std::nullopt;
    const std::string_view name = take_component(rest.back());
    if (rest.back().empty()) rest.pop_back();
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      if (above.empty()) continue;
      at = above.back().first;
      above.pop_back();
      continue;
    }
    const auto child = nodes_[at].children->find(name);
    if (child == nodes_[at].children->end()) {
      if (!rest.empty()) return std::nullopt;
      missing.clear();
      for (const auto& [directory, part] : above) missing += str_cat(part, "/");
      missing += name;
      return std::nullopt;
    }
    const MergedNode& node = nodes_[child->second];
    if (rest.empty()) return child->second;
    if (node.children) {
      above.emplace_back(at, name);
      at = child->second;
      continue;
    }
    const EntryView entry = layers_[node.layer]->entry(node.entry);
    if (entry.type != EntryType::kSymlink || ++symlinks > kMaxSymlinks) return std::nullopt;
    rest.push_back(entry.link);
    if (!entry.link.starts_with('/')) continue;
    at = kRootIndex;
    above.clear();
  }
  return at;
}

void Merge::detach(std::string_view path) {
  const auto parent = find(parent_path(path));
  if (!parent || !nodes_[*parent].children) return;
  if (nodes_[*parent].children->erase(last_component(path)) != 0) last_directory_ = {"", kRootIndex};
}

std::unexpected<Error> Merge::error_at(int code, std::string_view path, std::string_view why) const {
  return fail(code, "layer ", layer_count_, " (", layer_name_, "): ", path.empty() ? "/" : printable(path),
              ": ", why, "; the image is broken and has to be built anew");
}

}  // namespace layerboot::tree
