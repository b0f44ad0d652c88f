#include "oci-mount/tree/merge.h"

#include <string>

#include "oci-mount/base/log.h"
#include "oci-mount/tree/path_rules.h"

namespace layerboot::tree {

using layer::EntryType;
using layer::EntryView;

namespace {

bool is_mark(const EntryView& entry) {
  return entry.type == EntryType::kWhiteout || entry.type == EntryType::kOpaque;
}

// overlayfs's own whiteout, which only a tar of an upper directory holds. As a device it is of no use to
// anyone, and a kernel overlayfs on top of this tree would take it for a whiteout.
bool is_overlayfs_whiteout(const EntryView& entry) {
  return entry.type == EntryType::kCharDevice && entry.rdev_major == 0 && entry.rdev_minor == 0;
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
  if (layer_count_ == kMaxLayers) return fail(E2BIG, "the image has more than ", kMaxLayers, " layers");
  layer_name_ = source.identity();
  const std::uint32_t count = source.entry_count();
  if (count > kMaxEntriesPerLayer) {
    return fail(E2BIG, "layer ", layer_count_, " (", layer_name_, ") has ", count, " entries; the limit is ",
                kMaxEntriesPerLayer);
  }
  waiting_links_.clear();
  left_out_count_ = 0;
  last_directory_ = {"", kRootIndex};

  // Marks hide what is below this layer, wherever in the layer they stand: so all of them come first.
  std::vector<std::uint32_t> marks;
  for (std::uint32_t i = 0; i < count; ++i) {
    const EntryView entry = source.entry(i);
    if (auto valid = check_path(entry.path); !valid) return error_at(EINVAL, entry.path, valid.error().text);
    if (!is_mark(entry)) continue;
    LB_TRY(hide_lower(entry));
    marks.push_back(i);
  }
  // A mark's directory exists in this layer, as overlayfs would have it.
  for (const std::uint32_t i : marks) {
    const EntryView mark = source.entry(i);
    LB_TRY(ensure_directory(mark.type == EntryType::kOpaque ? mark.path : parent_path(mark.path)));
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    const EntryView entry = source.entry(i);
    if (is_mark(entry)) continue;
    LB_TRY(add_entry(entry, i));
  }
  LB_TRY(resolve_links());
  if (left_out_count_ != 0) {
    log_warn("layer ", layer_count_, " (", layer_name_, "): left out ", left_out_count_,
             " character devices 0:0, which are no devices but marks of overlayfs; the first is ",
             first_left_out_);
  }
  ++layer_count_;
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
    if (left_out_count_++ == 0) first_left_out_ = entry.path;
    return {};
  }
  LB_ASSIGN(const Index parent, ensure_directory(parent_path(entry.path)));
  const std::string_view name = last_component(entry.path);
  if (entry.type == EntryType::kHardLink) {
    detach(entry.path);
    waiting_links_[entry.path] = {.target = entry.link};
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
  for (auto link = waiting_links_.find(target); link != waiting_links_.end();
       link = waiting_links_.find(target)) {
    if (link->second.state == LinkState::kInProgress) {
      return error_at(EINVAL, path, "a hard link that leads back to itself");
    }
    link->second.state = LinkState::kInProgress;
    chain.push_back(link->first);
    target = link->second.target;
  }
  const auto found = check_path(target) ? find(target) : std::nullopt;
  if (!found) return error_at(ENOENT, path, str_cat("a hard link to ", target, ", which does not exist"));
  if (nodes_[*found].children) return error_at(EPERM, path, str_cat("a hard link to the directory ", target));
  for (const std::string_view name : chain) {
    LB_ASSIGN(const Index parent, ensure_directory(parent_path(name)));
    if (!nodes_[parent].children->try_emplace(last_component(name), *found).second) {
      return error_at(EINVAL, name, "a hard link under which the same layer has other entries");
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

void Merge::detach(std::string_view path) {
  const auto parent = find(parent_path(path));
  if (!parent || !nodes_[*parent].children) return;
  if (nodes_[*parent].children->erase(last_component(path)) != 0) last_directory_ = {"", kRootIndex};
}

std::unexpected<Error> Merge::error_at(int code, std::string_view path, std::string_view why) const {
  const std::string_view shown = path.empty() ? std::string_view("/") : path;
  return fail(code, "layer ", layer_count_, " (", layer_name_, "): ", shown.substr(0, 256), ": ", why,
              "; the image is broken and has to be built anew");
}

}  // namespace layerboot::tree
